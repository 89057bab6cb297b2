"""Run requests on SavedModel files, a checkpoint or a server, and compare the outputs."""
