//! Black-box tests that are quick; the long ones are in files of their own.

mod swap;
