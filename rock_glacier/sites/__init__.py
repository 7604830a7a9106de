"""Which tiles show the same ground."""
