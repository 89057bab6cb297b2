"""Progress, tables and reports for people."""
