"""How fast a server or a version answers: load, latencies, throughput, comparison of two."""
