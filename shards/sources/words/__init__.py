"""What releases and hospitals call things, and what is meant: sex, age, view, split, labels, the indication."""
