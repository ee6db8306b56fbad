"""The check of a result: whether it keeps what is measured on its original."""
