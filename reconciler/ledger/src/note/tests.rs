//! The published notes and keys of C2SP (signed-note.md, tlog-cosignature.md) and of Go's
//! golang.org/x/mod (sumdb/note/note_test.go), and what must be refused.

use super::*;

const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
    Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_SECRET: &str =
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";
const PETER_LINE: &str = "\u{2014} PeterNeumann \
    x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "\u{2014} EnochRoot \
    rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

fn verified(note: &str, keys: &[&str]) -> Result<Vec<String>, NoteError> {
    let keys: Vec<_> = keys.iter().map(|text| key(text)).collect();
    let note = Note::parse(note.as_bytes())?;
    let found = note.verify(&keys)?;
    Ok(found
        .iter()
        .map(|found| found.key.name().to_owned())
        .collect())
}

#[test]
fn the_published_notes_verify_and_are_printed_as_they_were_read() {
    assert_eq!(
        verified(EXAMPLE, &[EXAMPLE_KEY]).unwrap(),
        ["example.com/foo"]
    );
    let two = format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}");
    assert_eq!(
        verified(&two, &[PETER, ENOCH]).unwrap(),
        ["PeterNeumann", "EnochRoot"]
    );
    for note in [EXAMPLE, &two] {
        assert_eq!(Note::parse(note.as_bytes()).unwrap().to_string(), note);
    }
    assert_eq!(Note::parse(two.as_bytes()).unwrap().text(), TEXT);
}

#[test]
fn keys_are_printed_as_they_were_read() {
    for text in [EXAMPLE_KEY, PETER, ENOCH] {
        assert_eq!(key(text).to_string(), text);
    }
    let signer = NoteSigner::parse(PETER_SECRET).unwrap();
    assert_eq!(*signer.to_secret_text(), PETER_SECRET);
    assert_eq!(signer.verifier(), key(PETER));
}

#[test]
fn the_published_private_key_makes_the_published_signature() {
    let mut note = Note::new(TEXT).unwrap();
    let signer = NoteSigner::parse(PETER_SECRET).unwrap();
    signer.sign(&mut note, 0).unwrap();
    signer.sign(&mut note, 0).unwrap(); // the same line is not added twice
    assert_eq!(note.to_string(), format!("{TEXT}\n{PETER_LINE}"));
}

#[test]
fn signatures_of_unknown_keys_are_passed_over() {
    let two = format!("{TEXT}\n{PETER_LINE}{ENOCH_LINE}");
    assert_eq!(verified(&two, &[PETER]).unwrap(), ["PeterNeumann"]);
    // A wrong one of an unknown key means nothing; a second line of the same key is one.
    let wrong = ENOCH_LINE.replace("5n2tiO", "5nAAAAABCD2tiO");
    let noise = format!("{TEXT}\n{wrong}{PETER_LINE}{PETER_LINE}");
    assert_eq!(verified(&noise, &[PETER]).unwrap(), ["PeterNeumann"]);
    assert_eq!(verified(&two, &[]), Err(NoteError::Unsigned));
    assert_eq!(verified(&two, &[EXAMPLE_KEY]), Err(NoteError::Unsigned));
    // Only the name is that of a known key; the id is another.
    let other_id = format!("{TEXT}\n{}", PETER_LINE.replace("x08g", "x08h"));
    assert_eq!(verified(&other_id, &[PETER]), Err(NoteError::Unsigned));
}

#[test]
fn a_wrong_signature_of_a_known_key_spoils_the_note() {
    let at = PETER_LINE.find("SffcvIAQ").unwrap();
    let longer = format!("{}ABCD{}", &PETER_LINE[..at], &PETER_LINE[at..]);
    let other_text = format!("{TEXT}more\n\n{PETER_LINE}");
    let wrong = Err(NoteError::WrongSignature(PETER.to_owned()));
    assert_eq!(verified(&format!("{TEXT}\n{longer}"), &[PETER]), wrong);
    assert_eq!(verified(&other_text, &[PETER]), wrong);
    // Even beside a right one.
    let beside = format!("{TEXT}\n{PETER_LINE}{longer}");
    assert_eq!(verified(&beside, &[PETER]), wrong);
}

#[test]
fn what_is_no_note_is_refused() {
    let bad_name = PETER_LINE.replace("PeterNeumann", "Bad Name");
    let no_key_bytes = "\u{2014} PeterNeumann x08gow==\n";
    for (note, expected) in [
        (TEXT.to_owned(), NoteError::NoSignatures),
        (format!("{TEXT}\n"), NoteError::NoSignatures),
        (
            format!("{TEXT}\n{}", PETER_LINE.trim_end()),
            NoteError::NoSignatures,
        ),
        (format!("\u{1}{TEXT}\n{PETER_LINE}"), NoteError::NotText),
        (format!("{TEXT}\r\n\n{PETER_LINE}"), NoteError::NotText),
        (format!("\n\n{PETER_LINE}\t"), NoteError::NotText),
        (
            format!("{TEXT}\n{bad_name}"),
            NoteError::MalformedSignature(1),
        ),
        (
            format!("{TEXT}\n{PETER_LINE}Unexpected line.\n"),
            NoteError::MalformedSignature(2),
        ),
        (
            format!("{TEXT}\n{no_key_bytes}"),
            NoteError::MalformedSignature(1),
        ),
        (
            format!("{TEXT}\n{}", PETER_LINE.replace("nAM=", "nAM")),
            NoteError::MalformedSignature(1),
        ),
        (
            format!("{TEXT}\n{}", PETER_LINE.repeat(SIGNATURES_MAX + 1)),
            NoteError::TooLong,
        ),
        (
            format!("{}\n{PETER_LINE}", "a\n".repeat(NOTE_MAX / 2)),
            NoteError::TooLong,
        ),
    ] {
        let shown = &note[..note.len().min(200)];
        assert_eq!(Note::parse(note.as_bytes()), Err(expected), "{shown:?}");
    }
    let not_utf8 = [&[0xff][..], TEXT.as_bytes(), b"\n", PETER_LINE.as_bytes()].concat();
    assert_eq!(Note::parse(&not_utf8), Err(NoteError::NotText));
    assert_eq!(Note::new("abc"), Err(NoteError::NotText));
    assert!(Note::parse(format!("{TEXT}\n{}", PETER_LINE.repeat(16)).as_bytes()).is_ok());
}

#[test]
fn no_part_of_a_key_and_no_changed_key_is_a_key() {
    for (i, _) in PETER.char_indices() {
        for j in i + 1..=PETER.len() {
            let part = &PETER[i..j];
            assert_eq!(part.parse::<VerifierKey>().is_ok(), part == PETER, "{part}");
        }
        let mut changed = PETER.as_bytes().to_owned();
        changed[i] += 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
    }
    for (i, _) in PETER_SECRET.char_indices() {
        assert!(NoteSigner::parse(&PETER_SECRET[..i]).is_err());
        let mut changed = PETER_SECRET.as_bytes().to_owned();
        changed[i] += 1;
        assert!(NoteSigner::parse(str::from_utf8(&changed).unwrap()).is_err());
    }
    // With ids that fit: a key that is too long, and one of an unknown type.
    let long = "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==";
    assert!(long.parse::<VerifierKey>().is_err());
    let unknown = "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(unknown.parse::<VerifierKey>(), Err(KeyError::Algorithm));
}

#[test]
fn neither_debug_nor_errors_show_a_secret() {
    let signer = NoteSigner::parse(PETER_SECRET).unwrap();
    let secret = PETER_SECRET.rsplit('+').next().unwrap();
    assert_eq!(format!("{signer:?}"), format!("NoteSigner({PETER})"));
    let error = NoteSigner::parse(&format!("{PETER_SECRET}A")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(secret));
}

#[test]
fn a_cosignature_carries_the_time_it_signs() {
    let signer = NoteSigner::from_seed("witness.example/w1", Algorithm::CosignatureV1, &[7; 32]);
    let signer = signer.unwrap();
    let witness = [signer.verifier()];
    let mut note = Note::parse(EXAMPLE.as_bytes()).unwrap();
    signer.sign(&mut note, 1_679_315_147).unwrap();
    let found = note.verify(&witness).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].timestamp, Some(1_679_315_147));
    // The log's own key does not mind; neither is the other's.
    assert_eq!(note.verify(&[key(EXAMPLE_KEY)]).unwrap()[0].timestamp, None);

    let mut later = note.signatures()[1].clone();
    later.bytes[7] += 1;
    let mut changed = Note::parse(EXAMPLE.as_bytes()).unwrap();
    changed.add(later).unwrap();
    let wrong = NoteError::WrongSignature(witness[0].to_string());
    assert_eq!(changed.verify(&witness), Err(wrong));
}

#[test]
fn what_a_cosigner_signs_is_laid_out_as_published() {
    use ed25519_dalek::Signer as _;
    let text = "example.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let message = format!("cosignature/v1\ntime 1679315147\n{text}");
    let seed = [9; 32];
    let signer = NoteSigner::from_seed("w", Algorithm::CosignatureV1, &seed).unwrap();
    let raw = ed25519_dalek::SigningKey::from_bytes(&seed).sign(message.as_bytes());
    let line = signer.signature(text, 1_679_315_147);
    assert_eq!(
        line.bytes,
        [&1_679_315_147u64.to_be_bytes()[..], &raw.to_bytes()].concat()
    );
    // The published line's id and time lie where the document says.
    let published = "\u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5\
        OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
    let published = Signature::parse_line(published).unwrap();
    assert_eq!(published.key_id, 0x8d66_cf3f);
    assert_eq!(published.bytes[..8], 1_679_315_147u64.to_be_bytes());
    assert_eq!(published.bytes.len(), 8 + 64);
}
