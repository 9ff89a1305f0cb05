use super::*;

fn read_one(text: &str) -> Tree {
    let mut documents = read(text).expect("valid YAML");
    assert_eq!(documents.len(), 1, "{text:?}");
    documents.remove(0)
}

fn refused(text: &str) -> (&'static str, u32, u32) {
    let error = read(text).expect_err("refused YAML");
    (error.code, error.span.line, error.span.column)
}

fn get<'a>(tree: &'a Tree, name: &str) -> &'a Tree {
    let Value::Map(entries) = &tree.value else {
        panic!("{tree:?} is not a map");
    };
    let entry = entries.iter().find(|(key, _)| key.text == name);
    &entry.expect("the key is there").1
}

fn span(line: u32, column: u32, length: u32) -> Span {
    Span {
        line,
        column,
        length,
    }
}

#[test]
fn every_node_knows_its_place_in_characters() {
    let tree = read_one("é: ü\nb:\n  - 'x y'\n  - {q: 1}\nc: |\n  text\n  more\n");
    assert_eq!(get(&tree, "é").span, span(1, 4, 1));
    let list = get(&tree, "b");
    assert_eq!(
        list.span,
        span(3, 5, 5),
        "a block list is shown as its first item"
    );
    assert_eq!(
        get(&tree, "c").span,
        span(6, 3, 4),
        "a block scalar as its first line"
    );
    let Value::List(items) = &list.value else {
        panic!("a list");
    };
    assert_eq!(items[1].span, span(4, 5, 1), "a flow map as its bracket");
    assert_eq!(get(&items[1], "q").span, span(4, 9, 1));
}

#[test]
fn line_endings_and_tabs_between_tokens_do_not_matter() {
    let unix = read("a: 1\nb: {c: [x, y]}\n").unwrap();
    assert_eq!(read("a: 1\r\nb: {c: [x, y]}\r\n").unwrap(), unix);
    let tabs = read_one("{\t\"a\":\t1,\n\t\"b\":\t[2]}");
    assert_eq!(get(&tabs, "a").value, Value::Int(1));
}

#[test]
fn tabs_do_not_indent() {
    let error = read("a:\n\tb: 1\n").unwrap_err();
    assert_eq!((error.code, error.span.line), ("yaml-syntax", 2));
    assert!(error.hint.is_some_and(|hint| hint.contains("spaces")));
}

#[test]
fn several_documents_are_read_and_empty_ones_left_out() {
    assert_eq!(read("").unwrap(), []);
    assert_eq!(read("# only a comment\n").unwrap(), []);
    assert_eq!(read("---\n---\n...\n").unwrap(), []);
    let documents = read("---\na: 1\n---\n# nothing\n---\nb: 2\n").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(get(&documents[1], "b").span.line, 6);
}

#[test]
fn repeated_keys_are_kept_for_the_decoder_to_refuse() {
    let Value::Map(entries) = read_one("a: 1\na: 2\n").value else {
        panic!("a map");
    };
    assert_eq!(entries.len(), 2);
}

#[test]
fn an_alias_is_a_copy_of_its_anchor() {
    let tree = read_one("a: &x [1, 2]\nb: *x\n");
    assert_eq!(get(&tree, "a"), get(&tree, "b"));
    let tree = read_one("a: &x 1\nb: &x 2\nc: *x\n");
    assert_eq!(get(&tree, "c").value, Value::Int(2));
}

#[test]
fn an_alias_cannot_contain_itself_or_go_unnamed() {
    assert_eq!(refused("a: &x [*x]\n"), ("yaml-alias", 1, 8));
    assert_eq!(refused("a: *nowhere\n").0, "yaml-syntax");
    assert_eq!(refused("a: &x 1\n---\nb: *x\n").0, "yaml-syntax");
}

#[test]
fn an_alias_bomb_is_refused_before_it_grows() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..25 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let error = read(&bomb).unwrap_err();
    assert_eq!(error.code, "yaml-alias");
    assert!(error.message.contains("1 MiB"), "{}", error.message);
    let long = format!(
        "a: &x {}\nb: [{}]\n",
        "y".repeat(100_000),
        vec!["*x"; 20].join(", ")
    );
    assert_eq!(
        refused(&long).0,
        "yaml-alias",
        "the text counts, not the nodes alone"
    );
}

#[test]
fn nesting_and_the_number_of_values_are_bounded() {
    let flow = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&flow).is_err());
    let deepest = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    assert!(read(&deepest).is_ok());
    let too_deep = format!("[{deepest}]");
    assert!(read(&too_deep).is_err());
    let block = "- ".repeat(MAX_DEPTH + 2) + "x";
    assert!(read(&block).is_err());
    let wide = format!("[{}]", "1,".repeat(MAX_NODES));
    assert_eq!(refused(&wide).0, "too-large");
}

#[test]
fn what_does_not_mean_what_it_looks_like_is_refused() {
    assert_eq!(refused("a: {<<: {b: 1}}\n"), ("yaml-merge", 1, 5));
    assert_eq!(refused("a: !secret x\n").0, "yaml-tag");
    assert_eq!(refused("a: !!int \"1\"\n").0, "yaml-tag");
    assert_eq!(refused("a: !!binary x\n").0, "yaml-tag");
    assert_eq!(refused("a: !!map {}\n").0, "yaml-tag");
    assert_eq!(refused("1: x\n"), ("yaml-key", 1, 1));
    assert_eq!(refused("? [a]\n: x\n").0, "yaml-key");
    assert_eq!(refused("null: x\n").0, "yaml-key");
    assert_eq!(
        get(&read_one("a: !!str 1\n"), "a").value,
        Value::String("1".into())
    );
    assert_eq!(get(&read_one("\"<<\": 1\n"), "<<").value, Value::Int(1));
}

#[test]
fn an_unfinished_text_says_where_it_breaks() {
    assert_eq!(refused("a: [1\n"), ("yaml-syntax", 1, 4));
    assert_eq!(refused("a: \"x\n"), ("yaml-syntax", 1, 4));
    assert_eq!(refused("a: b: c\n").0, "yaml-syntax");
}
