//! What the guests share: facts a test writes into the finished component, since `describe` knows no configuration.

use std::hint::black_box;

use portcullis_plugin::prelude::*;

/// Fields of fixed width, padded with dots. A test replaces one in the component's bytes.
static MARKS: [u8; 80] = *b"guest-marks;name=guest...........;version=1.0.0;access=none.;describe=well.....;";

fn mark(name: &str) -> &'static str {
    let marks = std::str::from_utf8(black_box(&MARKS)).expect("the marks are text");
    let field = marks.split(';').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    field.expect("a known mark").trim_end_matches('.')
}

/// The version the test wrote.
pub fn version() -> &'static str {
    mark("version")
}

/// The manifest as marked; misbehaves where the marks say so.
pub fn manifest() -> Manifest {
    match mark("describe") {
        "trap" => panic!("told to trap in describe"),
        "loop" => spin(),
        "allocate" => allocate(),
        _ => {}
    }
    Manifest {
        access: match mark("access") {
            "read" => Access::READ,
            "write" => Access::WRITE,
            _ => Access::NONE,
        },
        ..Manifest::new(mark("name"), version(), "told by its marks and its configuration")
    }
}

/// Never ends.
pub fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Takes memory until there is none.
pub fn allocate() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}
