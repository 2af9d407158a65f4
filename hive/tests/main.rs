//! Integration tests of the hive.
