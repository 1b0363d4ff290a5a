//! One finder a file. Each looks at one place of a window and says whether a value of its kind begins or stands there.

pub mod card;
pub mod custom;
pub mod email;
pub mod iban;
pub mod ip;
pub mod pem;
pub mod phone;
pub mod separator;
pub mod ssn;
pub mod token;
