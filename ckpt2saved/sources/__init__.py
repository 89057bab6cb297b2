"""Where a graph comes from: a meta graph, a built-in network, a function, a model object."""
