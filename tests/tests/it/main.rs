//! Black-box tests that are quick; the long ones are in files of their own.

mod access;
mod account;
mod catalogue;
mod config;
mod conversations;
mod credentials;
mod faults;
mod flat;
mod gemini;
mod guard;
mod http;
mod keys;
mod limits;
mod media;
mod newcomer;
mod observers;
mod operations;
mod passed_operations;
mod passthrough;
mod receipts;
mod rollback;
mod routes;
mod shared_objects;
mod streams;
mod swap;
mod vertex;
