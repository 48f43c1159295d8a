"""What QKD devices have in common that are asked for keys, whatever language they speak."""
