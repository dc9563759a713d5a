//! Three families from the shell: a guardian asks for a room of their three children, is told
//! no, then yes; and a pass that ends ends it for two of them.

use kinline_tests::relay::Relay;
use kinline_tests::shell::Shell;
use serde_json::Value;

use crate::shell::shell_ok;
use crate::shell_families::{agree, people, texts, turned_down, two_families};

/// Nobody of a third family is known yet: Ida and Finn, whom both other families meet.
fn a_third_family(shell: &Shell, relay: &str) {
    println!("-- a third family");
    shell.found("Ida", relay, "Lund");
    let _ = shell.pair("Ida", "Finn", "--child");
    for (guardian, child) in [("Mum", "Mia"), ("Ada", "Leo")] {
        let _ = shell.meet(guardian, child, "Ida", "Finn", &["--no-qr"]);
        let offer = ["pass", "offer", "--child", child, "--with", "Finn/Lund"];
        shell.rounds(&[guardian, "Ida"], "the guardians are linked", || {
            people(shell, "Ida", &linked(shell, "Ida", guardian)).len() >= 2
        });
        let id = shell.run(guardian, &[&offer[..], &["--days", "30"]].concat());
        shell.rounds(&[guardian, "Ida"], "the offer has come", || {
            shell.run("Ida", &["pass", "list"]).contains(&id[..8])
        });
        shell_ok(shell, "Ida", &["pass", "accept", &id[..8]]);
        let title = format!("{child} & Finn");
        shell.rounds(
            &[guardian, child, "Ida", "Finn"],
            "they are friends",
            || {
                [child, "Finn"]
                    .iter()
                    .all(|device| people(shell, device, &title).len() == 2)
            },
        );
    }
}

/// The title of the conversation in which two guardians know each other.
fn linked(shell: &Shell, device: &str, other: &str) -> String {
    let status = shell.json(device, &["status"]);
    let all = status["conversations"].as_array().unwrap().iter();
    let mut with = all.filter(|it| it["members"].to_string().contains(other));
    with.next()
        .map_or_else(String::new, |it| it["title"].as_str().unwrap().to_owned())
}

const SIX: [&str; 6] = ["Mum", "Mia", "Ada", "Leo", "Ida", "Finn"];

fn asked(shell: &Shell, device: &str) -> Option<String> {
    let notices = shell.notices(device);
    let asked = notices.iter().rfind(|it| it["kind"] == "group-offered")?;
    Some(asked["group"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_families_from_the_shell() {
    let home = tempfile::tempdir().unwrap();
    let relay = Relay::start(&home.path().join("relay")).await;
    let address = relay.address().to_string();
    let shell = Shell::new(home.path());
    two_families(&shell, &address);
    let _ = agree(&shell);
    let offer = ["group", "offer", "--child", "Mia", "--title", "Band"];
    let with = |names: [&'static str; 2]| {
        let others = ["--with", names[0], "--with", names[1]];
        [&offer[..], &others[..]].concat()
    };
    let both = with(["Leo", "Finn/Lund"]);
    turned_down(&shell, "Mum", &both, "no child of a family that was met");
    a_third_family(&shell, &address);

    println!("-- a group");
    turned_down(&shell, "Mia", &both, "");
    let twice = with(["Leo", "Leo/Okafor"]);
    turned_down(&shell, "Mum", &twice, "Okafor is named twice");
    shell_ok(&shell, "Mum", &both);
    let said = shell.run("Mum", &["group", "list"]);
    assert!(said.contains("the yes of"), "{said}");
    let asked = |device: &str| asked(&shell, device);
    shell.rounds(&SIX, "both are asked", || {
        asked("Ada").is_some() && asked("Ida").is_some()
    });
    // A no of one family ends it.
    let id = asked("Ida").unwrap();
    let said = shell.run("Ida", &["group", "list"]);
    assert!(said.contains("waits for your yes"), "{said}");
    for child in ["Mia", "Leo/Okafor", "Finn"] {
        assert!(said.contains(child), "{said}");
    }
    turned_down(&shell, "Dad", &["group", "accept", &id[..8]], "no group");
    turned_down(&shell, "Mum", &["group", "accept", &id[..8]], "no group");
    let said = shell.run("Ida", &["group", "refuse", &id[..8]]);
    assert!(said.contains("Band is refused"), "{said}");
    let told = |device: &str, words: &str| {
        let notices = shell.notices(device);
        notices
            .iter()
            .any(|it| it["sentence"].as_str().unwrap().contains(words))
    };
    shell.rounds(&["Ida", "Mum"], "Mum knows", || {
        told("Mum", "Lund does not want Band")
    });
    assert!(shell.run("Mum", &["group", "list"]).contains("No group"));
    shell_ok(&shell, "Ada", &["group", "refuse", &id[..8]]);

    let second = shell.run("Mum", &both);
    shell.rounds(&SIX, "both are asked again", || {
        let again = Some(second.clone());
        asked("Ada") == again && asked("Ida") == again
    });
    for guardian in ["Ada", "Ida"] {
        let said = shell.run(guardian, &["group", "accept", &second[..8]]);
        assert!(said.contains("Agreed to Band"), "{said}");
    }
    shell.rounds(&SIX, "the three are together, and Mum with them", || {
        ["Mia", "Leo", "Finn", "Mum"]
            .iter()
            .all(|device| people(&shell, device, "Band").len() == 4)
    });
    assert!(told("Mum", "The family Okafor agrees to Band"));
    for device in ["Dad", "Ada", "Ida"] {
        assert!(people(&shell, device, "Band").is_empty(), "{device}");
    }
    for child in ["Mia", "Leo", "Finn"] {
        let words = format!("it is {child}");
        shell_ok(&shell, child, &["send", &words, "--to", "Band"]);
    }
    for device in ["Mia", "Leo", "Finn", "Mum"] {
        shell.rounds(&SIX, "all three are read", || {
            let texts = texts(&shell, device);
            ["Mia", "Leo", "Finn"]
                .iter()
                .all(|child| texts.contains(&format!("it is {child}")))
        });
    }
    turned_down(&shell, "Mum", &both, "already");
    // Without a pass of Mia and Leo there is no group of them.
    let ours = shell.run("Mum", &["pass", "list", "--json"]);
    let ours = ours.lines().map(|line| serde_json::from_str(line).unwrap());
    let ours: Vec<Value> = ours.collect();
    let with_leo = ours
        .iter()
        .find(|it| it["children"].to_string().contains("Leo"));
    let id = with_leo.unwrap()["id"].as_str().unwrap();
    shell_ok(&shell, "Mum", &["pass", "revoke", &id[..8]]);
    let mut again = both.clone();
    again[5] = "Duo";
    turned_down(
        &shell,
        "Mum",
        &again,
        "Mia and Leo/Okafor have no contact pass",
    );
    shell.rounds(&SIX, "Mia and Leo are apart", || {
        ["Mia", "Leo", "Finn"].iter().all(|device| {
            let there = people(&shell, device, "Band");
            !["Mia", "Leo"]
                .iter()
                .all(|it| there.contains(&(*it).to_owned()))
        })
    });
}
