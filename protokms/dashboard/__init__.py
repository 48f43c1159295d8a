"""A live page about a lab: what its nodes say, in the reader's browser."""
