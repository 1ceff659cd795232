use super::*;
use affinis::{Distance, Item};
use serde_json::json;

const TWO: Expected = Expected {
    dim: 2,
    texts: true,
    distance: Distance::L2,
    skip_bad: false,
};

fn csv_refused(text: &str, with: &str) {
    let error = csv(text.as_bytes(), "in.csv", TWO, &Layout::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains(with), "{error:?} does not say {with:?}");
}

#[test]
fn tsv_puts_the_label_into_the_metadata() {
    let parsed = tsv(
        &b"animal\ta dog\r\n\nfruit\tan apple\ttree\n"[..],
        "f",
        TWO,
        &Layout::default(),
    )
    .unwrap();
    assert_eq!(
        parsed.items[0],
        Item::text("0", "a dog").with_meta(json!({"label": "animal"}))
    );
    assert_eq!(
        parsed.items[1],
        Item::text("2", "an apple\ttree").with_meta(json!({"label": "fruit"}))
    );
    let error = tsv(
        &b"a\tb\nfruit an apple\n"[..],
        "in.tsv",
        TWO,
        &Layout::default(),
    )
    .unwrap_err()
    .to_string();
    assert!(error.starts_with("in.tsv, line 2: no tab"), "{error}");
    assert!(
        tsv(&b"a\t \n"[..], "f", TWO, &Layout::default())
            .unwrap_err()
            .to_string()
            .contains("empty")
    );
}

#[test]
fn csv_columns_of_numbers_form_the_vector() {
    let parsed = csv(
        &b"x,name,y,class\n1,first,-2.5,7\n\n\"3\",\"a, b\",4e1,8\n"[..],
        "f",
        TWO,
        &Layout::default(),
    )
    .unwrap();
    let meta = |name: &str, label: &str| json!({"name": name, "label": label});
    assert_eq!(
        parsed.items[0],
        Item::vector("0", vec![1.0, -2.5]).with_meta(meta("first", "7"))
    );
    assert_eq!(
        parsed.items[1],
        Item::vector("1", vec![3.0, 40.0]).with_meta(meta("a, b", "8"))
    );
    assert_eq!(parsed.places, [Place::Line(2), Place::Line(4)]);
}

#[test]
fn csv_errors_name_line_and_column() {
    csv_refused(
        "x,y,l\n1,2,a\n1,two,a\n",
        "in.csv, line 3: column \"y\" holds \"two\", not a number",
    );
    csv_refused(
        "x,y,l\r\n\r\n1,2,a\r\n\r\n1,two,a\r\n",
        "in.csv, line 5: column \"y\"",
    );
    csv_refused(
        "x,y,l\n1,2,\"a\nb\"\n1,two,a\n",
        "in.csv, line 4: column \"y\"",
    );
    csv_refused(
        "x,y,l\n1,2,a\n1,2\n",
        "in.csv, line 3: 2 fields, but the header has 3",
    );
    csv_refused(
        "x,y,l\n1,NaN,a\n",
        "line 2: the vector has NaN at position 1",
    );
    csv_refused(
        "x,y,l\n1,inf,a\n",
        "line 2: the vector has inf at position 1",
    );
    csv_refused("1,2,3\n1,2,3\n", "the first line is all numbers");
    csv_refused("x,y,z,l\n1,2,3,a\n", "line 2: the vector has 3 numbers");
    csv_refused(
        "x,y,z,l\n1,abc,,a\n1,2,3,a",
        "line 2: the vector has 1 numbers, but the collection holds vectors of dimension 2",
    );
    csv_refused(
        "x,y,z,l\n1,abc,,a\n1,2,3,a",
        "hold numbers, and there is none in \"y\", \"z\"",
    );
    csv_refused("a,b\nx,y\n", "no column but the last holds a number");
    csv_refused(
        "x,y,label,l\n1,2,a,b\n",
        "two columns would be \"meta.label\"",
    );
    csv_refused("x,y,l\n", "the input is empty");
    csv_refused("", "the input is empty");
    let error = csv(&b"x,y,l\n1,2,\xff\n"[..], "in.csv", TWO, &Layout::default())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "in.csv, line 2: not UTF-8 in field 3");
}

#[test]
fn a_quote_too_many_swallows_no_records() {
    const UNCLOSED: &str = "the quote that opens a field here is never closed";
    const BEHIND: &str = "the quoted field that begins here goes on after its closing quote";
    let refused = |text: &str, line: u64, with: &str| {
        csv_refused(text, &format!("in.csv, line {line}: {with}"));
        csv_refused(
            &text.replace('\n', "\r\n"),
            &format!("in.csv, line {line}: {with}"),
        );
        csv_refused(
            &format!("\u{feff}{text}"),
            &format!("in.csv, line {line}: {with}"),
        );
    };
    refused("x,y,l\n1,2,\"a\n3,4,b\n5,6,c\n", 2, UNCLOSED);
    refused("x,y,l\n1,2,a\n\n3,4,\"", 4, UNCLOSED);
    refused("x,y,l\n1,2,\"a\n\"\"\n", 2, UNCLOSED);
    refused("\"x,y,l\n1,2,a\n", 1, UNCLOSED);
    refused("x,y,l\n1,2,\"a\n3,4,b\n5,6,\"c\"\n", 2, BEHIND);
    refused("x,y,l\n1,2,\"a\"\n3,4,\"b\" c\n", 3, BEHIND);
    let good = "\"x\",y,l\n1,2,\"a \"\"b\"\" \n,c\" \n3,4,5\" 6\"\n\"5\",6,\"\"\n";
    let labels = |text: &str| -> Vec<Value> {
        let parsed = csv(text.as_bytes(), "f", TWO, &Layout::default()).unwrap();
        parsed
            .items
            .into_iter()
            .map(|item| item.meta["label"].clone())
            .collect()
    };
    for text in [good.to_owned(), format!("\u{feff}{good}")] {
        assert_eq!(labels(&text), ["a \"b\" \n,c ", "5\" 6\"", ""]);
    }
    // Records before the wrong quote, and after the field is closed, are not lost.
    let skip = Expected {
        skip_bad: true,
        ..TWO
    };
    let text = "x,y,l\n1,2,a\n3,4,\"b\"c\n5,6,d\n7,8,\"e\n9,9,f\n";
    let parsed = csv(
        std::io::BufReader::with_capacity(3, text.as_bytes()),
        "f",
        skip,
        &Layout::default(),
    )
    .unwrap();
    assert_eq!(parsed.places, [2, 4].map(Place::Line));
    assert_eq!(
        parsed.bad.iter().map(|bad| bad.place).collect::<Vec<_>>(),
        [3, 5].map(Place::Line)
    );
}
