"""Graphs of TensorFlow: nodes and edges, traversal, the op vocabulary, numeric probing."""
