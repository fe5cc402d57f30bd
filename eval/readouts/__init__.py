"""Readouts: what is learnt on top of frozen features, one file each, and all with one signature.

    fit(features_train (M, F), labels (M, L), patients (M,),
        features_valid (V, F), labels_valid (V, L), features_test (N, F))
    -> (valid_scores (V, L), test_scores (N, L), details)

Labels are 0, 1 or NaN; scores are logits, float32; details are what JSON can hold. An image whose label is NaN counts
for the other labels only. The validation set may be empty.
"""
