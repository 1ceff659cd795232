//! Progress on standard error, where that is a terminal; in a pipe nothing is shown.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for work whose length is known, in `unit`s.
pub(crate) fn bar(length: u64, message: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length).with_message(message);
    let template = "{msg} [{bar:30}] {human_pos}/{human_len} {eta}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// A bar for bytes that arrive; what they belong to is its message.
pub(crate) fn download() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// A spinner for work whose length is not known. It goes away when it is dropped.
pub(crate) fn spinner(message: impl Into<String>) -> Spinner {
    let bar = ProgressBar::new_spinner().with_message(message.into());
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    Spinner(bar)
}

/// A spinner that is cleared when its work ends, however that ends.
pub(crate) struct Spinner(ProgressBar);

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
