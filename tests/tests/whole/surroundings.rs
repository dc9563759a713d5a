//! Surroundings that are wrong: one sentence, exit status 2, nothing lost.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use kinline_tests::chat::Chat;
use kinline_tests::relay::Relay;
use kinline_tests::shell::{Shell, is_refused, sim_after};

use crate::shell::asset;

/// A guardian's phone at a relay.
async fn mum(home: &Path) -> (Relay, Shell) {
    let relay = Relay::start(&home.join("relay")).await;
    let shell = Shell::new(home);
    shell.found("Mum", &relay.address().to_string(), "Elms");
    (relay, shell)
}

/// The texts on Mum's screen, without the relay.
fn screen(shell: &Shell) -> Vec<String> {
    let said = shell.run("Mum", &["inbox", "--offline", "--json"]);
    let message = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
    let text = |line| message(line)["text"].as_str().unwrap().to_owned();
    said.lines().map(text).collect()
}

#[track_caller]
fn assert_says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "{word:?} is missing: {sentence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_wrong_or_not_there() {
    let home = tempfile::tempdir().unwrap();
    let (mut relay, shell) = mum(home.path()).await;
    let address = relay.address().to_string();
    let (place, pin) = address.split_once("#pin=").unwrap();
    let swapped = if pin.starts_with('A') { "B" } else { "A" };
    let wrong_pin = format!("{place}#pin={swapped}{}", &pin[1..]);
    for (relay, words) in [
        (wrong_pin.as_str(), "not the one in the pairing code"),
        (place, "of no known authority"),
    ] {
        let words_of = ["--relay", relay, "--family", "F", "--name", "N"];
        let sentence = shell.refused("New", &[&["create-family"], &words_of[..]].concat());
        assert_says(&sentence, &[words]);
        assert!(
            !Path::new(&shell.path("New")).exists(),
            "something was left behind"
        );
    }
    assert_eq!(relay.terminate().await, Some(0));
    let sentence = shell.refused("Mum", &["sync"]);
    assert_says(&sentence, &["is not there"]);
    // What is written now is kept, and told from what is delivered.
    let sentence = shell.refused("Mum", &["send", "one", "--require-delivery"]);
    assert_says(&sentence, &["kept", "is not there"]);
    let _ = shell.run("Mum", &["send", "two"]);
    assert_eq!(screen(&shell), ["one", "two"]);
    relay.restart().await;
    let _ = shell.run("Mum", &["sync"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_that_is_taken_newer_or_a_copy() {
    let home = tempfile::tempdir().unwrap();
    let (_relay, shell) = mum(home.path()).await;
    let folder = home.path().join("Mum");

    let mut other = Chat::start(&folder, true);
    other.tell("say from another process").await;
    other.read_until("kept from another process").await;
    let sentence = shell.refused("Mum", &["send", "meanwhile"]);
    assert_says(&sentence, &["another process uses this state folder"]);
    other.stop().await;
    assert_eq!(screen(&shell), ["from another process"]);

    // A copy is taken, the device goes on, the copy is put back.
    let copy = home.path().join("copy");
    copy_folder(&folder, &copy);
    let _ = shell.run("Mum", &["send", "after the copy"]);
    let kept = home.path().join("kept");
    std::fs::rename(&folder, &kept).unwrap();
    std::fs::rename(&copy, &folder).unwrap();
    // It notices, says so, and starts over in a new mailbox.
    let _ = shell.run("Mum", &["sync"]);
    let said = shell.run("Mum", &["notices"]);
    assert_says(&said, &["copy of an older state"]);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::rename(&kept, &folder).unwrap();
    let _ = shell.run("Mum", &["sync"]);

    let set_version = |version: u32| {
        let database = rusqlite::Connection::open(folder.join("device.db")).unwrap();
        let before: u32 = database
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        database
            .pragma_update(None, "user_version", version)
            .unwrap();
        before
    };
    let current = set_version(99);
    let sentence = shell.refused("Mum", &["send", "too early"]);
    assert_says(&sentence, &["newer version", "99", "nothing was changed"]);
    set_version(current);
    assert_eq!(screen(&shell), ["from another process", "after the copy"]);
    let _ = shell.run("Mum", &["sync"]);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A JPEG whose header says 50,000 x 50,000 pixels.
fn huge_picture() -> Vec<u8> {
    let mut bytes =
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00".to_vec();
    let side = 50_000_u16.to_be_bytes();
    bytes.extend([
        0xff, 0xc0, 0x00, 0x11, 8, side[0], side[1], side[0], side[1], 3,
    ]);
    bytes.extend([1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    bytes.extend([0xff, 0xda, 0x00, 0x0c, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
    bytes.extend([0x55; 400]);
    bytes.extend([0xff, 0xd9]);
    bytes
}

/// A sound whose header says 4 GiB, and who has 100 bytes.
fn boasting_sound() -> Vec<u8> {
    let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00".to_vec();
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data\xf0\xff\xff\xff");
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_no_photo_or_recording() {
    let home = tempfile::tempdir().unwrap();
    let (_relay, shell) = mum(home.path()).await;
    let file = |name: &str, bytes: &[u8]| {
        std::fs::write(home.path().join(name), bytes).unwrap();
        shell.path(name)
    };
    let heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic\x00\x00\x00\x08mdat";
    let good = std::fs::read(asset("photo.jpg")).unwrap();
    let sound = std::fs::read(asset("voice.flac")).unwrap();
    let large = shell.path("large.jpg");
    let mut four_gib = File::create(&large).unwrap();
    four_gib.write_all(&good).unwrap();
    four_gib.seek(SeekFrom::Start(4 << 30)).unwrap();
    four_gib.write_all(&[0]).unwrap();
    let photos = [
        (
            file("letter.jpg", b"Dear diary, this is no photo at all."),
            vec!["JPEG, PNG and WebP"],
        ),
        (
            file("huge.jpg", &huge_picture()),
            vec!["50000 x 50000", "accepted"],
        ),
        (large, vec!["4 GiB", "accepted"]),
        (file("empty.jpg", b""), vec!["empty", "JPEG, PNG and WebP"]),
        (file("apple.jpg", heic), vec!["HEIC", "JPEG, PNG and WebP"]),
        (file("cut.jpg", &good[..good.len() / 3]), vec!["cut short"]),
        (file("sound.jpg", &sound), vec!["JPEG, PNG and WebP"]),
        (shell.path("nowhere.jpg"), vec!["o such file"]),
        (shell.path("Mum"), vec![""]),
    ];
    // Far less than any of these claims to need, and enough for an honest photo.
    let bounded = "ulimit -v 1500000";
    for (path, words) in &photos {
        let refused = is_refused(&mut shell.command_after(bounded, "Mum", &["photo", path]));
        assert_says(&refused, words);
    }
    let recordings = [
        (
            file("letter.ogg", b"Dear diary, this is no sound at all."),
            vec!["WAV, FLAC"],
        ),
        (file("empty.wav", b""), vec!["empty"]),
        (file("boast.wav", &boasting_sound()), vec![""]),
        (file("photo.wav", &good), vec!["WAV, FLAC"]),
        (file("cut.flac", &sound[..200]), vec![""]),
    ];
    for (path, words) in &recordings {
        let refused = is_refused(&mut shell.command_after(bounded, "Mum", &["voice", path]));
        assert_says(&refused, words);
    }
    assert_eq!(screen(&shell), Vec::<String>::new());
    let blobs = std::fs::read_dir(home.path().join("Mum/blobs"));
    assert!(
        blobs.map_or(true, |mut left| left.next().is_none()),
        "a blob was left behind"
    );
    // The same bound lets a good one pass.
    let photo = ["photo", &asset("photo.jpg")];
    kinline_tests::shell::succeeds(&mut shell.command_after(bounded, "Mum", &photo));
}

/// A limit on the size of files stands for a disk that takes no more: writing fails in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more() {
    let home = tempfile::tempdir().unwrap();
    let (_relay, shell) = mum(home.path()).await;
    let _ = shell.run("Mum", &["send", "before"]);
    // The signal that comes with it would end the process: a full disk sends none.
    let limited = "trap '' XFSZ; ulimit -f 4";
    let refused = is_refused(&mut shell.command_after(limited, "Mum", &["send", "lost?"]));
    assert!(!refused.contains("lost?"), "{refused}");
    let photo = ["photo", &asset("photo.jpg")];
    is_refused(&mut shell.command_after(limited, "Mum", &photo));
    assert_eq!(screen(&shell), ["before"]);
    let _ = shell.run("Mum", &["send", "after"]);
    assert_eq!(screen(&shell), ["before", "after"]);
}

/// A disk that is really full, where this machine lets us make one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full() {
    let home = tempfile::tempdir().unwrap();
    let disk = home.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let (_relay, shell) = mum(home.path()).await;
    let _ = shell.run("Mum", &["send", "before"]);
    let script = format!(
        "set -e; D={0}; mount -t tmpfs -o size=4m none $D; cp -a {1}/. $D; echo mounted
         cat /dev/zero > $D/filler 2>&- || true
         if \"$0\" device --state $D send 'does not fit'; then echo sent; else echo status $?; fi
         rm $D/filler
         \"$0\" device --state $D send after
         \"$0\" device --state $D inbox --json",
        disk.display(),
        shell.path("Mum"),
    );
    let program = kinline_tests::program::path(kinline_tests::program::DEVICE);
    let output = std::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .arg(program)
        .env_clear()
        .envs(kinline_tests::program::environment())
        .output();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some(output) = output
        .ok()
        .filter(|it| said(&it.stdout).starts_with("mounted"))
    else {
        println!("skipped: this machine lets nobody mount a small disk");
        return;
    };
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("status 2\n"), "{out}{err}");
    assert_says(
        &err,
        &["kinline-sim: the disk is full: nothing was changed"],
    );
    assert!(!out.contains("does not fit"), "{out}");
    assert!(
        out.contains("\"before\"") && out.contains("\"after\""),
        "{out}"
    );
}

#[test]
fn words_that_make_no_sense() {
    for words in [
        &["device", "--state", "x", "dance"][..],
        &["demo", "--server-pid", "1"],
        &["steal", "--data", "/nowhere", "--canaries", "/nowhere"],
    ] {
        let output = sim_after("true", words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty());
    }
}
