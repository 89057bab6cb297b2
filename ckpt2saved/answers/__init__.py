"""Who answers requests (the files, the checkpoint, a server), and whether the answers agree."""
