"""What any family should beat: the majority class, an SVM, a residual network, transfer."""
