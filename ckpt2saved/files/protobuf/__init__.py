"""Reading and writing of protobuf messages without TensorFlow."""
