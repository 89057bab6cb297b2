"""How much of the text of labelled pictures a version or a server reads: figures, comparison, report."""
