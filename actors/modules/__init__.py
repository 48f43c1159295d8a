"""Kinds of QKD module, one file each."""
