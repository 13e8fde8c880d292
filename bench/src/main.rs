//! Measures Runcast: the load generator and the floor.

fn main() {}
