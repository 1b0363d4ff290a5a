//! Black-box tests that are quick; the long ones are in files of their own.

mod config;
mod credentials;
mod faults;
mod guard;
mod http;
mod keys;
mod observers;
mod passthrough;
mod receipts;
mod rollback;
mod routes;
mod streams;
mod swap;
