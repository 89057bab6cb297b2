"""The steps of signatures as graphs of stock ops."""
