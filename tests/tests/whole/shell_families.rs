//! Two families from the shell: their children meet, talk and part, and each family changes.
//! Every device is a process that wakes, does one thing and sleeps again.

use kinline_protocol::pairing::{MeetCode, ShortMeetCode};
use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;
use serde_json::Value;

use crate::shell::shell_ok;

const EVERYBODY: [&str; 5] = ["Mum", "Dad", "Mia", "Ada", "Leo"];
const ROOM: &str = "Mia & Leo";

/// Mum, Dad and Mia; Ada and Leo. Nobody knows the other family yet.
pub(crate) fn two_families(shell: &Shell, relay: &str) {
    shell.found("Mum", relay, "Reed");
    shell.pair_by_digits("Mum", "Mia", "--child", relay);
    let _ = shell.pair("Mum", "Dad", "--guardian");
    shell.found("Ada", relay, "Okafor");
    let _ = shell.pair("Ada", "Leo", "--child");
    shell.rounds(&EVERYBODY[..3], "the first family is whole", || {
        ["Mum", "Dad", "Mia"]
            .iter()
            .all(|device| people(shell, device, "Reed").len() == 3)
    });
}

fn conversation(shell: &Shell, device: &str, title: &str) -> Option<Value> {
    let status = shell.json(device, &["status"]);
    let all = status["conversations"].as_array().unwrap();
    all.iter().find(|it| it["title"] == title).cloned()
}

/// Names of those who are in a conversation, as a device sees it.
pub(crate) fn people(shell: &Shell, device: &str, title: &str) -> Vec<String> {
    let Some(found) = conversation(shell, device, title) else {
        return vec![];
    };
    let members = found["members"].as_array().unwrap().iter();
    members
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) fn texts(shell: &Shell, device: &str) -> Vec<String> {
    let inbox = shell.inbox(device).into_iter();
    inbox
        .filter_map(|it| Some(it["text"].as_str()?.to_owned()))
        .collect()
}

fn pass(shell: &Shell, device: &str) -> Value {
    let said = shell.run(device, &["pass", "list", "--json"]);
    let line = said.lines().next().expect("a pass");
    serde_json::from_str(line).unwrap()
}

fn decisions(shell: &Shell, device: &str) -> String {
    shell.json(device, &["family"])["decisions"].to_string()
}

/// The children may talk: Mum watches, Ada does not.
pub(crate) fn agree(shell: &Shell) -> String {
    let _ = shell.meet("Mum", "Mia", "Ada", "Leo", &["--short"]);
    shell.rounds(&EVERYBODY, "the guardians are linked", || {
        let link = |device| people(shell, device, "Reed & Okafor").len() >= 2;
        link("Mum") && link("Ada")
    });
    let offer = ["pass", "offer", "--child", "Mia", "--with", "Leo"];
    let wish = [
        "--supervision",
        "everything",
        "--guardian",
        "Mum",
        "--days",
        "30",
    ];
    let id = shell.run("Mum", &[&offer[..], &wish[..]].concat());
    shell.rounds(&EVERYBODY, "the offer has come", || {
        shell
            .notices("Ada")
            .iter()
            .any(|it| it["kind"] == "pass-offered" && it["pass"] == id.as_str())
    });
    // What Mum offers is not for Dad to answer.
    shell_ok(shell, "Dad", &["sync"]);
    let to_answer = |it: &Value| it["kind"] == "pass-offered";
    assert!(!shell.notices("Dad").iter().any(to_answer));
    let said = shell.denied("Dad", &["pass", "accept", &id[..8]]);
    assert!(said.contains("no contact pass"), "{said}");
    shell_ok(shell, "Ada", &["pass", "accept", &id[..8]]);
    shell.rounds(
        &EVERYBODY,
        "the children are together, and Mum with them",
        || {
            ["Mia", "Leo"]
                .iter()
                .all(|device| people(shell, device, ROOM).len() == 3)
        },
    );
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_families_from_the_shell() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    two_families(&shell, &relay.address().to_string());
    let id = agree(&shell);
    they_talk(&shell);
    a_pause_is_kept(&shell);
    a_report_proves_itself(&shell);
    a_revoked_pass_ends_it(&shell, &id);
    two_guardians_must_agree(&shell);
    a_mailbox_is_closed_and_opened(&shell);
    a_guardian_is_removed_and_objects(&shell);
    a_tablet_is_lost(&shell);
}

fn they_talk(shell: &Shell) {
    println!("-- they talk");
    let to = ["--to", ROOM];
    shell_ok(shell, "Mia", &[&["send", "hi Leo"], &to[..]].concat());
    shell_ok(shell, "Leo", &["sync"]);
    shell_ok(shell, "Leo", &[&["send", "hi Mia"], &to[..]].concat());
    for device in ["Mia", "Leo", "Mum"] {
        shell.rounds(&EVERYBODY, "both greetings", || {
            let texts = texts(shell, device);
            ["hi Leo", "hi Mia"]
                .iter()
                .all(|it| texts.contains(&(*it).to_owned()))
        });
    }
    for device in ["Dad", "Ada"] {
        assert!(texts(shell, device).is_empty(), "{device} is not in it");
    }
    // Each child sees who watches, with its messages and with its status.
    for device in ["Mia", "Leo"] {
        for verb in ["inbox", "status"] {
            let screen = shell.run(device, &[verb]);
            assert!(screen.contains("guardians see everything"), "{screen}");
            assert!(screen.contains("may read here"), "{screen}");
            assert!(screen.contains("guardians see who talks"), "{screen}");
        }
    }
    let said = shell.denied("Mum", &["send", "hello children", "--to", ROOM]);
    assert!(said.contains("contact pass"), "{said}");
}

fn a_pause_is_kept(shell: &Shell) {
    println!("-- a pause");
    let set = ["policy", "set", "--child", "Mia"];
    shell_ok(shell, "Dad", &[&set[..], &["--pause"]].concat());
    shell_ok(shell, "Mia", &["sync"]);
    let said = shell.denied("Mia", &["send", "psst", "--to", ROOM]);
    assert!(said.contains("Your guardians have paused"), "{said}");
    assert!(shell.run("Mia", &["inbox"]).contains("have paused"));
    shell_ok(shell, "Mia", &["send", "why?"]);
    shell_ok(shell, "Mum", &["sync"]);
    assert!(texts(shell, "Mum").contains(&"why?".to_owned()));
    shell_ok(shell, "Mum", &[&set[..], &["--resume"]].concat());
    shell.rounds(&["Mia"], "the pause is over", || {
        shell.json("Mia", &["policy", "show"])["policy"]["paused"] == false
    });
    shell_ok(shell, "Mia", &["send", "back again", "--to", ROOM]);
    shell.rounds(&["Leo"], "it goes on", || {
        texts(shell, "Leo").contains(&"back again".to_owned())
    });
    assert!(!texts(shell, "Leo").contains(&"psst".to_owned()));
    let decisions = decisions(shell, "Mia");
    assert!(decisions.contains("paused"), "{decisions}");
}

fn a_report_proves_itself(shell: &Shell) {
    println!("-- a report");
    let inbox = shell.inbox("Mia");
    let message = inbox.iter().find(|it| it["text"] == "hi Mia").unwrap();
    let id = message["id"].as_str().unwrap();
    shell_ok(shell, "Mia", &["report", id, "--words", "look"]);
    for guardian in ["Mum", "Dad"] {
        shell_ok(shell, guardian, &["sync"]);
        let notices = shell.notices(guardian);
        let report = notices.iter().find(|it| it["kind"] == "report");
        let report = report.unwrap_or_else(|| panic!("{guardian}: {notices:#?}"));
        assert_eq!(report["signature_holds"], true);
        let sentence = report["sentence"].as_str().unwrap();
        assert!(
            sentence.contains("hi Mia") && sentence.contains("look"),
            "{sentence}"
        );
    }
    assert!(shell.notices("Ada").iter().all(|it| it["kind"] != "report"));
    shell_ok(shell, "Mia", &["block", ROOM, "Leo"]);
    shell_ok(shell, "Leo", &["send", "are you there?", "--to", ROOM]);
    shell_ok(shell, "Mia", &["sync"]);
    assert!(!texts(shell, "Mia").contains(&"are you there?".to_owned()));
    let said = shell.denied("Mia", &["block", "Reed", "Mum"]);
    assert!(said.contains("own guardians"), "{said}");
    shell_ok(shell, "Mia", &["unblock", ROOM, "Leo"]);
}

/// Mia's tablet is off from here to the end of this.
fn a_revoked_pass_ends_it(shell: &Shell, id: &str) {
    println!("-- a revoked pass");
    let before = texts(shell, "Mia");
    let said = shell.run("Mum", &["pass", "revoke", &id[..8]]);
    assert!(said.contains("was revoked"), "{said}");
    assert_eq!(pass(shell, "Mum")["state"], "revoked");
    // Leo has not heard of it: what he writes goes nowhere.
    let late = shell.command("Leo", &["send", "are you asleep?", "--to", ROOM]);
    drop({ late }.output().unwrap());
    shell.rounds(&["Mum", "Dad", "Ada", "Leo"], "Leo knows", || {
        pass(shell, "Leo")["state"] != "holds" || people(shell, "Leo", ROOM).len() < 3
    });
    assert_eq!(texts(shell, "Mia"), before);
    shell.rounds(&EVERYBODY, "Mia knows", || {
        pass(shell, "Mia")["state"] == "revoked"
    });
    let said = shell.denied("Mia", &["send", "psst", "--to", ROOM]);
    assert!(!said.is_empty());
    assert_eq!(texts(shell, "Mia"), before);
    let said = shell.denied("Mum", &["pass", "revoke", &id[..8]]);
    assert!(!said.is_empty());
}

fn two_guardians_must_agree(shell: &Shell) {
    println!("-- two signatures");
    shell_ok(shell, "Mum", &["settings", "--signatures", "2"]);
    for answer in ["no", "yes"] {
        let said = shell.run("Mum", &["settings", "--signatures", "1"]);
        assert!(said.contains("Another guardian's yes is needed"), "{said}");
        assert_eq!(shell.json("Mum", &["family"])["settings"]["signatures"], 2);
        let said = shell.run("Dad", &["proposals", "--json"]);
        let proposal: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(proposal["by"], "Mum");
        assert_eq!(proposal["ours"], false);
        let said = shell.run("Mum", &["proposals"]);
        assert!(said.contains("signed by Mum"), "{said}");
        assert!(said.contains("the yes of Dad is missing"), "{said}");
        let id = &proposal["id"].as_str().unwrap()[..8];
        let said = shell.denied("Mum", &["answer-proposal", id, "yes"]);
        assert!(said.contains("no proposal"), "nobody agrees twice: {said}");
        shell_ok(shell, "Dad", &["answer-proposal", id, answer]);
        let said = shell.denied("Dad", &["answer-proposal", id, "yes"]);
        assert!(said.contains("no proposal"), "{said}");
        let now = if answer == "yes" { 1 } else { 2 };
        assert_eq!(
            shell.json("Mum", &["family"])["settings"]["signatures"],
            now
        );
    }
    // What was decided waits for nobody, also where it was asked twice.
    let said = shell.run("Mum", &["proposals"]);
    assert!(said.contains("Nothing waits"), "{said}");
    let family = shell.json("Mum", &["family"]);
    let last = family["decisions"].as_array().unwrap().last().unwrap();
    assert_eq!(last["by"].as_array().unwrap().len(), 2, "{last}");
}

fn a_mailbox_is_closed_and_opened(shell: &Shell) {
    println!("-- a mailbox is closed");
    let said = shell.denied("Mum", &["close-mailbox", "tablet of Dad"]);
    assert!(said.contains("not entrusted"), "{said}");
    shell_ok(shell, "Dad", &["close-mailbox", "tablet of Mia"]);
    let _ = shell.refused("Mia", &["sync"]);
    let said = shell.run("Mum", &["close-mailbox", "tablet of Mia", "--undo"]);
    assert!(said.contains("is open again"), "{said}");
    shell_ok(shell, "Mia", &["sync"]);
}

fn a_guardian_is_removed_and_objects(shell: &Shell) {
    println!("-- a guardian is removed");
    let said = shell.run("Mum", &["remove", "member", "Dad"]);
    assert!(said.contains("Dad was removed from the family"), "{said}");
    shell_ok(shell, "Dad", &["sync"]);
    let before = decisions(shell, "Mum");
    let said = shell.denied("Dad", &["policy", "set", "--child", "Mia", "--pause"]);
    println!("a policy of a removed guardian: {said}");
    let objection = shell.run("Dad", &["object"]);
    shell_ok(shell, "Mia", &["sync"]);
    assert_eq!(decisions(shell, "Mia"), before);
    let said = shell.denied("Mum", &["settings", "--lease-days", "14"]);
    assert!(said.contains("a guardian was removed"), "{said}");
    let said = shell.denied("Mum", &["show-code", "--child", "Zoe", "--yes"]);
    assert!(said.contains("a guardian was removed"), "{said}");
    let said = shell.run("Dad", &["status"]);
    assert!(said.contains("removed from the family"), "{said}");
    let said = shell.denied("Mia", &["carry-objection", "kinline:object:1:nonsense"]);
    assert!(said.contains("objection"), "{said}");
    shell_ok(shell, "Mia", &["carry-objection", &objection]);
    shell_ok(shell, "Mum", &["sync"]);
    let family = shell.json("Mum", &["family"]);
    assert_eq!(family["removed"][0]["name"], "Dad");
    assert_eq!(family["removed"][0]["standing"], "objects");
    assert!(family["frozen"]["until"].is_null() && family["frozen"].is_object());
    let again = shell.denied("Mia", &["carry-objection", &objection]);
    assert!(!again.is_empty());
    let index = family["removed"][0]["index"].to_string();
    // Nothing of what happens meanwhile reaches his phone.
    shell_ok(shell, "Mia", &["send", "where is Dad?"]);
    shell_ok(shell, "Mum", &["withdraw", &index]);
    let family = shell.json("Mum", &["family"]);
    assert!(family["frozen"].is_object(), "{family}");
    let said = shell.run("Mum", &["family"]);
    assert!(said.contains("until Dad's phone is there again"), "{said}");
    let said = shell.denied("Mum", &["settings", "--lease-days", "14"]);
    assert!(said.contains("a guardian was removed"), "{said}");
    shell_ok(shell, "Dad", &["sync"]);
    shell_ok(shell, "Mum", &["sync"]);
    let family = shell.json("Mum", &["family"]);
    assert!(family["frozen"].is_null(), "{family}");
    let members = family["members"].as_array().unwrap();
    let dad = members.iter().find(|it| it["name"] == "Dad").unwrap();
    assert_eq!(dad["devices"].as_array().unwrap().len(), 1);
    shell_ok(shell, "Mia", &["sync"]);
    shell_ok(shell, "Mia", &["send", "there you are, Dad"]);
    let seen = shell.run("Dad", &["inbox", "--json"]);
    assert!(!seen.contains("where is Dad?"), "{seen}");
    assert!(seen.contains("there you are, Dad"), "{seen}");
}

fn a_tablet_is_lost(shell: &Shell) {
    println!("-- a tablet is lost");
    let said = shell.denied("Mum", &["remove", "device", "fridge"]);
    assert!(said.contains("tablet of Mia"), "{said}");
    let said = shell.run("Mum", &["remove", "device", "tablet of Mia"]);
    assert!(said.contains("tablet was removed"), "{said}");
    assert!(said.contains("mailbox of Mia's tablet is closed"), "{said}");
    let undo = ["close-mailbox", "tablet of Mia", "--undo"];
    let said = shell.denied("Mum", &undo);
    assert!(said.contains("Mia's tablet was removed"), "{said}");
    assert!(said.contains("can't be undone"), "{said}");
    let said = shell.denied("Mum", &undo[..2]);
    assert!(said.contains("removed from the family already"), "{said}");
    shell_ok(shell, "Mum", &["send", "the tablet is gone"]);
    let seen = shell.command("Mia", &["inbox", "--json"]).output().unwrap();
    assert!(!seen.status.success());
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(!seen.contains("the tablet is gone"), "{seen}");
    let said = shell.denied("Mum", &["remove", "device", "tablet of Mia"]);
    assert!(said.contains("no device"), "{said}");
    let said = shell.denied("Mum", &["show-code", "--guardian", "Dad"]);
    assert!(said.contains("from one they have"), "{said}");
    let said = shell.denied("Mum", &["remove", "device", "tablet of Dad"]);
    assert!(said.contains("remove the guardian"), "{said}");
    let family = shell.json("Mum", &["family"]);
    let members = family["members"].as_array().unwrap();
    let mia = members.iter().find(|it| it["name"] == "Mia").unwrap();
    assert_eq!(mia["devices"].as_array().unwrap().len(), 0);
}

/// Turned down with a sentence, and nothing that people decided is different.
pub(crate) fn turned_down(shell: &Shell, device: &str, words: &[&str], sentence: &str) {
    let head = shell.json(device, &["family"])["head"].clone();
    let passes = shell.run(device, &["pass", "list", "--json"]);
    let said = shell.denied(device, words);
    assert!(said.contains(sentence), "{words:?}: {said}");
    assert_eq!(shell.json(device, &["family"])["head"], head, "{words:?}");
    assert_eq!(shell.run(device, &["pass", "list", "--json"]), passes);
}

/// Fourteen digits with another secret and a check digit that fits.
fn wrong_digits(code: &str) -> String {
    let mut digits: Vec<u8> = code.bytes().filter(u8::is_ascii_digit).collect();
    digits.pop();
    digits[9] = b'0' + (digits[9] - b'0' + 1) % 10;
    let digits = String::from_utf8(digits).unwrap();
    (0..10)
        .map(|check| format!("{digits}{check}"))
        .find(|text| text.parse::<ShortMeetCode>().is_ok())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_families_may_not_is_told_in_a_sentence_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let address = relay.address().to_string();
    let shell = Shell::new(home.path());
    shell.found("Mum", &address, "Reed");
    let pairing = shell.pair("Mum", "Mia", "--child");
    let _ = shell.pair("Mum", "Tom", "--child");
    shell.found("Ada", &address, "Okafor");
    let _ = shell.pair("Ada", "Leo", "--child");

    // A code of another purpose, either way.
    let join = |code: &'static str| ["meet", "join", code, "--child", "Leo"];
    let words = ["meet", "join", &pairing, "--child", "Leo"];
    turned_down(&shell, "Ada", &words, "for pairing a new device");
    let (mut showing, code, said) =
        shell.show("Mum", &["meet", "show", "--child", "Mia", "--no-qr"]);
    let sentence = shell.denied("New", &["pair", &code]);
    assert!(
        sentence.contains("for meeting another family"),
        "{sentence}"
    );
    assert!(!std::path::Path::new(&shell.path("New")).exists());
    // Typed wrong: no Kinline code, a letter lost, a digit wrong.
    turned_down(&shell, "Ada", &join("hello"), "not a Kinline code");
    let short = ["meet", "join", &code[..code.len() - 1], "--child", "Leo"];
    turned_down(&shell, "Ada", &short, "damaged");
    turned_down(&shell, "Ada", &join("3 82136-9047-7163"), "digit");
    // Expired.
    let mut expired: MeetCode = code.parse().unwrap();
    expired.expires_unix_seconds = 1_700_000_000;
    let words = ["meet", "join", &expired.to_text(), "--child", "Leo"];
    turned_down(&shell, "Ada", &words, "expired");
    // A child cannot meet, but can ask.
    turned_down(
        &shell,
        "Leo",
        &["meet", "join", &code, "--child", "Leo"],
        "guardian",
    );
    shell_ok(
        &shell,
        "Leo",
        &["ask-friend", &code, "--words", "Mia is nice"],
    );
    turned_down(
        &shell,
        "Leo",
        &["ask-friend", &pairing],
        "for pairing a new device",
    );
    let notices = shell.notices("Ada");
    let asked = notices.iter().find(|it| it["kind"] == "friend-request");
    assert_eq!(asked.unwrap()["words"], "Mia is nice");
    assert_eq!(asked.unwrap()["code"], code.as_str());
    // It is news once, and can be read again.
    assert_eq!(shell.run("Ada", &["notices"]), "Nothing new.");
    assert!(
        shell
            .run("Ada", &["notices", "--all"])
            .contains("Mia is nice")
    );
    // Nobody said yes, so nothing has happened.
    showing.kill().unwrap();
    showing.wait().unwrap();
    drop(said);
    turned_down(
        &shell,
        "Mum",
        &[
            "pass", "offer", "--child", "Mia", "--with", "Leo", "--days", "9",
        ],
        "family",
    );

    // Wrong digits can be typed three times, by processes that come and go.
    let (mut showing, digits, said) =
        shell.show("Mum", &["meet", "show", "--child", "Mia", "--short"]);
    let words = ["meet", "join", &wrong_digits(&digits), "--child", "Leo"];
    turned_down(&shell, "Ada", &words, "not right");
    showing.kill().unwrap();
    showing.wait().unwrap();
    drop(said);

    // Used twice.
    let code = shell.meet("Mum", "Mia", "Ada", "Leo", &["--no-qr"]);
    let words = ["meet", "join", &code, "--child", "Leo"];
    turned_down(&shell, "Ada", &words, "used already");
    shell.rounds(&["Mum", "Ada"], "the guardians are linked", || {
        people(&shell, "Mum", "Reed & Okafor").len() >= 2
    });

    // A no on one side.
    let (showing, code, said) = shell.show(
        "Mum",
        &["meet", "show", "--child", "Tom", "--yes", "--no-qr"],
    );
    let sentence = shell.denied("Ada", &["meet", "join", &code, "--child", "Leo"]);
    assert!(sentence.contains("turned away"), "{sentence}");
    let mut showing = {
        drop(said);
        showing
    };
    assert_eq!(showing.wait().unwrap().code(), Some(1));

    // A pass for a child that left.
    shell_ok(&shell, "Mum", &["remove", "member", "Tom"]);
    let offer = |child: &'static str, other: &'static str| {
        [
            "pass", "offer", "--child", child, "--with", other, "--days", "9",
        ]
    };
    turned_down(
        &shell,
        "Mum",
        &offer("Tom", "Leo"),
        "no child of this family is \"Tom\"",
    );
    turned_down(&shell, "Mum", &offer("Mia", "Zoe"), "Leo/Okafor");
    turned_down(&shell, "Mia", &offer("Mia", "Leo"), "");
    let id = shell.run("Mum", &offer("Mia", "Leo"));
    shell.rounds(&["Ada", "Leo"], "the offer has come", || {
        shell.run("Ada", &["pass", "list"]).contains(&id[..8])
    });
    shell_ok(&shell, "Ada", &["remove", "member", "Leo"]);
    turned_down(&shell, "Ada", &["pass", "accept", &id[..8]], "");
    turned_down(
        &shell,
        "Ada",
        &["pass", "accept", "0000"],
        "no contact pass",
    );
    shell_ok(&shell, "Ada", &["pass", "refuse", &id[..8]]);

    // What only guardians may, and what can't be.
    turned_down(
        &shell,
        "Mia",
        &["policy", "set", "--child", "Mia", "--resume"],
        "guardian",
    );
    let zone = [
        "policy",
        "set",
        "--child",
        "Mia",
        "--zone",
        "Europe/Atlantis",
    ];
    turned_down(&shell, "Mum", &zone, "Europe/Atlantis");
    turned_down(&shell, "Mum", &["remove", "member", "Mum"], "last guardian");
    turned_down(&shell, "Mum", &["withdraw", "1"], "");
    turned_down(&shell, "Mum", &["reform", "Reed"], "no need");
    turned_down(&shell, "Mum", &["object"], "removal");
    for (day, sentence) in [
        ("2026-10-31", "was made on 2026-11-01"),
        ("9999-12-31", "ten years"),
    ] {
        turned_down(&shell, "Mum", &["correct-time", day, "--far"], sentence);
    }
    turned_down(
        &shell,
        "Mum",
        &["answer-proposal", "0000", "yes"],
        "no proposal",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guardian_moves_to_another_phone() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let shell = Shell::new(home.path());
    shell.found("Mum", &relay.address().to_string(), "Reed");
    let _ = shell.pair("Mum", "Dad", "--guardian");
    let said = shell.denied("Mum", &["show-code", "--guardian", "Dad", "--yes"]);
    assert!(said.contains("from one they have"), "{said}");
    let said = shell.denied("Mum", &["show-code", "--child", "Dad", "--yes"]);
    assert!(said.contains("somebody else in this family"), "{said}");
    // He lets it in himself, and has two.
    let _ = shell.pair_as("Dad", "new phone", "--guardian", "Dad");
    shell_ok(&shell, "Dad", &["send", "from the old one"]);
    shell_ok(&shell, "new phone", &["send", "from the new one"]);
    let seen = shell.run("Mum", &["inbox", "--json"]);
    for words in ["from the old one", "from the new one"] {
        assert!(seen.contains(words), "{seen}");
    }
    let family = shell.json("new phone", &["family"]);
    let members = family["members"].as_array().unwrap();
    let dad = members.iter().find(|it| it["name"] == "Dad").unwrap();
    let devices = dad["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2, "{dad}");
    let old = shell.json("Dad", &["status"])["device"].clone();
    println!("{dad} {old}");
    // The old one goes, and nothing is frozen by that.
    let old = old.as_str().unwrap();
    shell_ok(&shell, "new phone", &["remove", "device", &old[..8]]);
    let said = shell.run("new phone", &["settings", "--signatures", "2"]);
    assert!(said.contains("2 guardians"), "{said}");
    shell_ok(&shell, "Mum", &["sync"]);
    let family = shell.json("Mum", &["family"]);
    let members = family["members"].to_string();
    assert_eq!(members.matches("\"Dad\"").count(), 1, "{members}");
    let old = shell.denied("Dad", &["settings", "--signatures", "1"]);
    assert!(!old.is_empty());
}
