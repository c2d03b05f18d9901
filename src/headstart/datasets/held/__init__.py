"""Images that are held as pixels in files of arrays: .npz, pickles, CIFAR's batches."""
