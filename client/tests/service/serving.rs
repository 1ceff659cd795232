//! A service in this process, over a store in a directory.

use std::path::Path;
use std::thread::JoinHandle;

use affinis::{Item, Store};
use affinis_client::{Client, Collection};
use affinis_mahalanobis::Mahalanobis;
use affinis_server::{ServeError, Service, Settings, Stop, Tokens};
use serde_json::json;

/// A service; it ends when this is dropped.
pub(crate) struct Serving {
    pub(crate) url: String,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Serving {
    /// A service with the lines of tokens, if there are some, on a free port.
    pub(crate) fn start(home: &Path, tokens: Option<&str>) -> Self {
        Self::with(
            home,
            Settings {
                tokens: tokens.map(|lines| Tokens::parse(lines).expect("tokens")),
                backups: Some(home.join("backups")),
                ..Settings::default()
            },
        )
    }

    /// A service with settings, on a free port.
    pub(crate) fn with(home: &Path, settings: Settings) -> Self {
        let store = Store::builder().plugin(Mahalanobis::default());
        let settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            ..settings
        };
        let store = store.open(home.join("store")).expect("a store");
        let service = Service::bind(store, settings).expect("bound");
        let (stop, url) = (service.stop(), service.url());
        Self {
            url,
            stop,
            thread: Some(std::thread::spawn(move || service.run())),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).expect("a client")
    }

    /// A new collection `c` with some [`points`].
    pub(crate) fn points(&self, count: usize) -> Collection {
        let client = self.client();
        client.create("c").dim(4).create().expect("created");
        let collection = client.collection("c");
        collection.add(points(count)).expect("added");
        collection
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("no panic").expect("served");
            }
        }
    }
}

/// Points in four dimensions, of two classes.
pub(crate) fn points(count: usize) -> impl Iterator<Item = Item> {
    // The first number tells two classes apart; the others are larger noise.
    let mut state = 1_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 3.6 - 1.8
    };
    (0..count).map(move |at| {
        let vector = [(at % 2) as f32, noise(), noise(), noise()];
        Item::vector(format!("{at:04}"), vector).with_meta(json!({"class": at % 2}))
    })
}
