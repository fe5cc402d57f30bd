"""Where weights come from, and what others call them."""
