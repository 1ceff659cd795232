#![no_main]

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

use affinis_testkit::fuzz::bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // libFuzzer's hook ends the program at any panic, also at one inside RTen that the encoder
    // makes an error of.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| set_hook(Box::new(|_| ())));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| bodies::model(data))) {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        eprintln!("{}", message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic"));
        std::process::abort();
    }
});
