"""Cases of golden texts: a code, how its message is found in a folder, and the text. One module for each kind of code."""
