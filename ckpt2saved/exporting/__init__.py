"""From a checkpoint to a published version: plan, pipeline, provenance."""
