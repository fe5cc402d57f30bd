"""Which pretraining settings pay, on data of one's own: successive halving without a look at the test split."""
