"""Say what a file that no catalog describes yet holds, as far as the file tells."""
