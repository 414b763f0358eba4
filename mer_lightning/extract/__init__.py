"""From videos to features: decoding, faces, encoders, and the pipeline that survives broken clips."""
