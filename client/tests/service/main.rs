//! Every call of the client, on a service in the same process.

mod serving;
mod tls;
mod transfer;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use affinis::learning::{EvalQuery, Forget};
use affinis::{
    AddMode, Distance, Filter, Item, Judgement, MetricChoice, Precision, Query, VersionId,
};
use affinis_client::{Client, Error, MAX_BATCH_ITEMS, Signal};
use affinis_server::{Role, Tokens};

use serving::{Serving, points};

fn judgements() -> Vec<Judgement> {
    let pairs = (0..12).flat_map(|query| (20..30).map(move |item| (query, item)));
    pairs
        .map(|(query, item)| {
            let grade = if query % 2 == item % 2 { 1.0 } else { -1.0 };
            Judgement::graded(
                Query::like(format!("{query:04}")),
                format!("{item:04}"),
                grade,
            )
        })
        .collect()
}

#[test]
fn collections_and_items() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let client = serving.client();
    client.health().expect("healthy");
    client.ready().expect("ready");
    assert!(!client.session().expect("a session").tokens);
    let made = client
        .create("points / ä")
        .dim(4)
        .distance(Distance::L2)
        .precision(Precision::F32);
    let made = made.create().expect("created");
    assert_eq!((made.name.as_str(), made.dim), ("points / ä", 4));
    let again = client.create("points / ä").dim(4).create();
    assert!(again.is_err_and(|error| error.is("already-exists")));
    assert_eq!(client.collections().expect("listed"), [made]);

    let points_there = client.collection("points / ä");
    let count = 2 * MAX_BATCH_ITEMS + 7;
    let added = points_there.add(points(count)).expect("added");
    assert_eq!((added.added, added.replaced), (count, 0));
    assert_eq!(points_there.count(None).expect("counted"), count as u64);
    let even = Filter::parse(r#"{"class": 0}"#).expect("a filter");
    assert_eq!(
        points_there.count(Some(&even)).expect("counted"),
        count.div_ceil(2) as u64
    );
    let known: Vec<Item> = points(count).collect();
    assert_eq!(
        Item::from(points_there.get("0003").expect("an item")),
        known[3]
    );
    let many = points_there.get_many(&["0005", "0001"]).expect("items");
    assert_eq!((many[0].id.as_str(), many[1].id.as_str()), ("0005", "0001"));
    let listed = points_there.list().page(100).run();
    let listed: Vec<Item> = listed.map(|item| item.expect("an item").into()).collect();
    assert_eq!(listed, known);
    let rest = points_there
        .list()
        .after("1000")
        .filter(even.clone())
        .without_vectors()
        .run();
    let rest: Vec<_> = rest.map(|item| item.expect("an item")).collect();
    assert_eq!(rest.len(), 3);
    assert!(rest.iter().all(|item| item.vector.is_none()));

    // The second request fails as a whole; what was sent before is stored.
    let mut twice: Vec<Item> = points(MAX_BATCH_ITEMS + 2)
        .map(|mut item| {
            item.id = format!("new {}", item.id);
            item
        })
        .collect();
    twice[MAX_BATCH_ITEMS + 1].vector = Some(vec![1.0]);
    let error = points_there
        .add_as(AddMode::Insert, twice)
        .expect_err("refused");
    assert!(error.is("invalid-input"), "{error}");
    assert!(matches!(error, Error::Partly { stored, count: 2, .. } if stored == MAX_BATCH_ITEMS));
    let prefixed = points_there.count(None).expect("counted");
    assert_eq!(prefixed, (count + MAX_BATCH_ITEMS) as u64);
    assert!(
        points_there
            .add([])
            .is_err_and(|error| error.is("invalid-input"))
    );

    assert_eq!(points_there.delete(&["0000", "0001"]).expect("deleted"), 2);
    let unknown = points_there.delete(&["0002", "0000"]);
    assert!(unknown.is_err_and(|error| error.is("not-found")));
    let gone = points_there.delete_matching(&even).expect("deleted");
    assert!(gone > MAX_BATCH_ITEMS);
    let described = points_there.describe().expect("described");
    assert_eq!((described.stats.dim, described.distance), (4, Distance::L2));
    client.drop_collection("points / ä").expect("dropped");
    let missing = points_there.describe();
    assert!(missing.is_err_and(|error| error.is("not-found")));
}

#[test]
fn searches_and_measures() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(80);
    let client = collection.client();

    let odd = Filter::parse(r#"{"class": 1}"#).expect("a filter");
    let answer = collection
        .search(Query::like("0001"))
        .k(3)
        .filter(&odd)
        .explain_search();
    let answer = answer
        .metric(MetricChoice::BuiltIn)
        .expect("a metric")
        .run()
        .expect("an answer");
    assert_eq!((answer.hits.len(), answer.metric), (3, VersionId(0)));
    assert!(answer.execution.expect("told").visited > 0);
    let queries = (0..12).map(|at| Query::like(format!("{at:04}")));
    // More hits than a request may ask for.
    let many = collection.search_many(queries).k(10_000).ids_only().run();
    let many = many.expect("answers");
    assert_eq!((many.len(), many[11].query.as_str()), (12, Some("0011")));
    assert!(many[0].hits.iter().all(|hit| hit.meta.is_none()));

    let queries = vec![EvalQuery::graded(
        Query::like("0001"),
        [("0003", 2.0), ("0005", 1.0), ("0002", 0.0)],
        Some(2.0),
    )];
    let measured = collection
        .evaluate(queries)
        .k(5)
        .relevance_threshold(Some(2.0))
        .run()
        .expect("measured");
    assert_eq!(
        (measured.queries, measured.k, measured.rows.len()),
        (1, 5, 2)
    );
    let why = collection.explain(Query::like("0001"), "0003").run();
    assert_eq!(why.expect("explained").metric, VersionId(0));
    let wrong = collection.search("a text").run();
    let wrong = wrong.expect_err("points have no encoder");
    assert!(wrong.problem().is_some(), "{wrong}");
    let figures = client.figures().expect("figures");
    assert!(figures.contains("affinis"), "{figures}");
}

#[test]
fn learning_versions_and_trials() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(80);
    let client = collection.client();
    let none = collection.refit().run();
    assert!(none.expect_err("nothing to learn from").problem().is_some());

    let judged = collection.judge(&judgements()).expect("judged");
    assert_eq!(judged.stored, 120);
    let listed = collection.judgements().item("0021").run();
    assert_eq!(
        listed.collect::<Result<Vec<_>, _>>().expect("listed").len(),
        12
    );
    let dry = collection.refit().dry_run(true).run().expect("a dry run");
    assert_eq!((dry.version, dry.promoted), (None, false));
    let mut shares = Vec::new();
    let job = collection
        .refit()
        .force(true)
        .seed(3)
        .begin()
        .expect("begun");
    let refit = job
        .wait_with(|share| shares.push(share), || false)
        .expect("learned");
    assert_eq!((refit.version, refit.promoted), (Some(VersionId(1)), true));
    assert!(shares.windows(2).all(|two| two[0] <= two[1]));
    let again: affinis_api::RefitDocument =
        serde_json::from_value(client.job(job.name()).wait().expect("a result")).expect("a refit");
    assert_eq!(again, refit);
    assert_eq!(client.jobs().expect("jobs")[0].kind, "refit");

    let versions = collection.metrics().expect("versions");
    assert_eq!(versions.len(), 2);
    let shown = collection.metric(VersionId(1)).expect("a version");
    assert!(shown.active && shown.gate.is_some());
    let compared = collection
        .search(Query::like("0001"))
        .compare(MetricChoice::BuiltIn)
        .expect("a metric")
        .run()
        .expect("an answer");
    let other = compared.compared.expect("compared");
    assert_eq!(
        (compared.metric, other.metric),
        (VersionId(1), VersionId(0))
    );
    let moved = compared.hits[0].moved.expect("a move");
    let there = other.hits.iter().find(|hit| hit.id == compared.hits[0].id);
    assert_eq!(moved, there.map(|hit| hit.rank as i64 - 1));

    let back = collection.roll_back(None).expect("rolled back");
    assert_eq!(back.active, VersionId(0));
    let matrix = collection.export_metric(VersionId(1)).expect("a matrix");
    let imported = collection.import_metric(&matrix.matrix).expect("imported");
    let difference = collection
        .diff(VersionId(1), imported)
        .expect("a difference");
    assert!(difference.distance < 1e-6);
    let trial = collection.start_trial(imported).alpha(0.1).run();
    assert_eq!(trial.expect("begun").expect("a trial").challenger, imported);
    let mixed = collection
        .trial_search(&Query::like("0001"), 4, None)
        .expect("an answer");
    let shown: Vec<String> = mixed.hits.iter().map(|hit| hit.id.clone()).collect();
    let signal = Signal {
        query: Query::like("0001"),
        clicked: shown[..1].to_vec(),
        shown,
        user: Some("ann".to_owned()),
    };
    let clicked = collection.signals(&[signal]).expect("stored");
    assert!(clicked.trial.is_some());
    assert!(collection.trial().expect("a state").is_some());
    assert!(collection.end_trial().expect("ended").is_some());
    collection.delete_metric(imported).expect("deleted");
    collection.promote(VersionId(1)).expect("promoted");
    assert_eq!(collection.drift().expect("drift").refits.len(), 1);

    let last = clicked.last.expect("a number");
    let first = judged.first.expect("a number");
    let numbers = BTreeSet::from([first, last]);
    let forgotten = collection.forget(&Forget::Judgements(numbers));
    assert_eq!(forgotten.expect("withdrawn").removed, 2);
    let left = collection.judgements().run().count();
    assert_eq!(left, 119);
    let forgotten = collection.forget(&Forget::Item("0021".to_owned()));
    assert!(forgotten.expect("forgotten").removed > 0);
}

#[test]
fn questions_are_asked_and_answered() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(80);
    collection.judge(&judgements()[..20]).expect("judged");
    let refit = collection.refit().ask(4).run().expect("learned");
    let asked = refit.ask.unwrap_or_default();
    let open = collection.questions().expect("questions");
    assert_eq!(open.len(), asked.len());
    if let Some(question) = open.first() {
        let answer = Judgement::relevant(
            Query::like(&question.question.query_id),
            &question.question.item,
        );
        assert_eq!(collection.answer(&[answer]).expect("answered").stored, 1);
        assert_eq!(collection.questions().expect("open").len(), open.len() - 1);
    }
    let to_none = Judgement::relevant(Query::like("0070"), "0071");
    assert!(
        collection
            .answer(&[to_none])
            .is_err_and(|error| error.is("conflict"))
    );
}

#[test]
fn jobs_of_the_store() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    let collection = serving.points(300);
    let client = collection.client();
    let built = collection.optimize().expect("begun").wait().expect("built");
    assert_eq!(built.items, 300);
    let verified = client.verify().expect("begun").wait().expect("verified");
    assert!(verified.checked > 0 && verified.problems.is_empty());
    let written = client.back_up("monday").expect("begun").wait();
    assert_eq!(written.expect("written").items, 300);
    assert_eq!(client.backups().expect("listed"), ["monday"]);
    let escaped = client.back_up("../x");
    assert!(escaped.is_err_and(|error| error.is("invalid-input")));
    let unknown = client.job("none").wait();
    assert!(unknown.is_err_and(|error| error.is("not-found")));
    // Either it was done before, or it was stopped.
    let stopped = collection.optimize().expect("begun");
    match stopped.wait_with(|_| {}, || true) {
        Ok(built) => assert_eq!(built.items, 300),
        Err(error) => assert!(error.is("cancelled"), "{error}"),
    }
}

#[test]
fn a_token_is_shown_and_not_printed() {
    let home = tempfile::tempdir().expect("a directory");
    let made = Tokens::make("ann", Role::Judge).expect("a token");
    let serving = Serving::start(home.path(), Some(&made.line));
    let nobody = serving.client();
    let refused = nobody.collections().expect_err("no token");
    assert!(refused.is("unauthenticated"), "{refused}");
    let ann = serving.client().token(&made.token).expect("a token");
    assert!(ann.collections().expect("allowed").is_empty());
    let session = ann.session().expect("a session");
    assert_eq!(
        (session.user.as_deref(), session.role.as_deref()),
        (Some("ann"), Some("judge"))
    );
    let problem = ann.create("c").create().expect_err("not hers");
    let problem = problem.problem().expect("a problem");
    assert_eq!((problem.kind_name(), problem.status), ("forbidden", 403));
    assert!(!format!("{ann:?}").contains(&made.token));
    assert!(matches!(nobody.token("two words"), Err(Error::Token)));
}

/// Passes connections on to a service, and cuts some of the answers off.
fn cutting(service: &str, cuts: usize) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let service = service.trim_start_matches("http://").to_owned();
    let keys = Arc::new(Mutex::new(Vec::new()));
    let (seen, count) = (Arc::clone(&keys), AtomicUsize::new(0));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else {
                return;
            };
            let mut request = Vec::new();
            let mut buffer = [0; 8_192];
            // One request a connection; the test's requests are small.
            while !is_whole(&request) {
                match connection.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&buffer[..read]),
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let key = text
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "));
            if let Some(key) = key {
                seen.lock().expect("keys").push(key.to_owned());
            }
            let closing = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            let Ok(mut there) = TcpStream::connect(&service) else {
                return;
            };
            let mut answer = Vec::new();
            if there.write_all(closing.as_bytes()).is_err()
                || there.read_to_end(&mut answer).is_err()
            {
                return;
            }
            let is_cut = count.fetch_add(1, Ordering::Relaxed) < cuts;
            if !is_cut {
                let _ = connection.write_all(&answer);
            }
        }
    });
    (url, keys)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.trim().parse().expect("a length"))
}

#[test]
fn what_was_not_answered_is_done_once() {
    let home = tempfile::tempdir().expect("a directory");
    let serving = Serving::start(home.path(), None);
    serving.client().create("c").dim(4).create().expect("made");
    let (url, keys) = cutting(&serving.url, 2);
    let behind = Client::new(&url).expect("a client").collection("c");
    // The answers to the first two requests are lost. The third is that of the first.
    let added = behind.add(points(40)).expect("added");
    assert_eq!((added.added, added.replaced), (40, 0));
    assert_eq!(keys.lock().expect("keys").len(), 3);
    let (url, keys) = cutting(&serving.url, 1);
    let behind = Client::new(&url).expect("a client").collection("c");
    let judged = behind.judge(&judgements()[..5]).expect("judged");
    assert_eq!(judged.stored, 5);
    let keys = keys.lock().expect("keys").clone();
    assert!(keys.len() == 2 && keys[0] == keys[1], "{keys:?}");
    let stored = serving.client().collection("c").judgements().run().count();
    assert_eq!(stored, 5);
    // A removal is not repeated: nobody could say what became of the first.
    let (url, _) = cutting(&serving.url, 1);
    let lost = Client::new(&url).expect("a client").drop_collection("c");
    assert!(matches!(lost, Err(Error::Transport { .. })), "{lost:?}");
}

#[test]
fn what_is_no_service_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answering = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("accepted");
        let mut buffer = [0; 4_096];
        let _ = connection.read(&mut buffer).expect("read");
        let answer = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 5\r\nconnection: close\r\n\r\nmoved";
        connection.write_all(answer.as_bytes()).expect("written");
    });
    let client = Client::new(&url).expect("a client");
    let strange = client.collections().expect_err("no service");
    assert!(
        matches!(&strange, Error::Answer { status: 302, reason, .. } if reason == "moved"),
        "{strange}"
    );
    answering.join().expect("no panic");
    let nobody = client.collections().expect_err("nobody listens");
    assert!(matches!(nobody, Error::Transport { .. }), "{nobody}");
    let home = tempfile::tempdir().expect("a directory");
    std::fs::write(home.path().join("roots.pem"), "nothing").expect("written");
    let roots = client.root_certificates(home.path().join("roots.pem"));
    let error = roots.expect_err("no certificate").to_string();
    assert!(error.contains("roots.pem"), "{error}");
}
