"""What people do with single customers and single records: dead letters, inspection, erasure, campaigns."""
