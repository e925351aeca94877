"""The compute-optimal size by three approaches (Hoffmann et al. 2022, section 3); `compare` sets them side by side."""
