//! One load, as the command line describes it.

use std::cell::Cell;
use std::rc::Rc;

use kinline_protocol::content::Body;
use kinline_protocol::engine::io::Event;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::Bench;
use crate::load::args::LoadArgs;
use crate::load::child::RelaySetup;
use crate::load::course::{Course, Outcome, Pace, conduct};
use crate::load::families::Family;
use crate::load::pairs::Due;
use crate::load::report::JobReport;
use crate::load::tally::{Tally, count};
use crate::load::trouble::Trouble;
use crate::load::wire::Stamp;
use crate::shell::EventReader;

/// What sender and screen of one family share.
#[derive(Default)]
struct Between {
    shown: Cell<u64>,
    total: Cell<Option<u64>>,
    changed: Notify,
}

impl Between {
    /// Whether all that was written is shown, and no more will be written.
    fn is_over(&self) -> bool {
        self.total
            .get()
            .is_some_and(|total| self.shown.get() >= total)
    }
}

fn written(stamp: Stamp) -> String {
    format!("{} {}", stamp.number, stamp.at_ns)
}

fn read(text: &str) -> Option<Stamp> {
    let (number, at_ns) = text.split_once(' ')?;
    Some(Stamp {
        number: number.parse().ok()?,
        at_ns: at_ns.parse().ok()?,
    })
}

async fn phone(
    family: Family,
    due: Due,
    tally: Rc<Tally>,
    between: Rc<Between>,
) -> Result<(), Trouble> {
    let mut number = 0_u64;
    while !tally.stopped.get() {
        let now_ns = tally.now_ns();
        match due.at(number, number - between.shown.get(), now_ns) {
            Some(at_ns) if at_ns <= now_ns => {
                family.say(written(Stamp { number, at_ns })).await?;
                number += 1;
                count(&tally.sent);
            }
            Some(at_ns) => sleep_until(tally.moment(at_ns)).await,
            None => between.changed.notified().await,
        }
    }
    between.total.set(Some(number));
    between.changed.notify_one();
    while between.shown.get() < number {
        between.changed.notified().await;
    }
    family.end().await;
    Ok(())
}

async fn tablet(
    mut events: EventReader,
    tally: Rc<Tally>,
    between: Rc<Between>,
) -> Result<(), Trouble> {
    let mut next = 0;
    while !between.is_over() {
        // Looks up when the last has been sent, even if nothing more comes.
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(std::time::Duration::from_millis(100)) => continue,
        };
        let Some(event) = event else {
            // The phone ends both when all is shown, and may be first to see it.
            if between.is_over() {
                break;
            }
            return Err(Trouble::new("a tablet stopped"));
        };
        let Event::Message {
            mine: false,
            body: Body::Text { text },
            ..
        } = event
        else {
            continue;
        };
        let Some(stamp) = read(&text) else { continue };
        if stamp.number < next {
            count(&tally.doubled);
            continue;
        }
        next = stamp.number + 1;
        tally.note_delivery(stamp.at_ns);
        tally.note_acknowledgement(stamp.at_ns);
        between.shown.set(between.shown.get() + 1);
        between.changed.notify_one();
    }
    between.changed.notify_one();
    Ok(())
}

async fn families(bench: &Bench, title: &str, course: Course) -> Result<Outcome, Trouble> {
    bench.progress.begin(title);
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let folder = bench.launcher.folder()?;
    let mut all = Vec::new();
    for number in 0..course.pairs {
        let home = folder.path().join(number.to_string());
        let mut family = Family::found(home, &relay.child.address).await?;
        family.admit().await?;
        family.settled().await?;
        all.push(family);
        bench
            .progress
            .line(&format!("{} of {} families", all.len(), course.pairs));
    }
    let tally = Rc::new(Tally::new());
    let mut tasks = JoinSet::new();
    for (index, family) in (0..).zip(all) {
        let between = Rc::new(Between::default());
        let due = Due::of(course.pace, index, course.pairs, &tally);
        let events = family.tablets.first().map(crate::device::Device::events);
        let events = events.ok_or_else(|| Trouble::new("a family has no tablet"))?;
        tasks.spawn_local(tablet(events, Rc::clone(&tally), Rc::clone(&between)));
        tasks.spawn_local(phone(family, due, Rc::clone(&tally), between));
    }
    let process = relay.child.process();
    let outcome = conduct(course, &tally, tasks, process, &bench.progress).await?;
    relay.stop().await?;
    Ok(outcome)
}

/// Runs it.
pub(in crate::load) async fn run(
    bench: &Bench,
    arguments: &LoadArgs,
) -> Result<Vec<JobReport>, Trouble> {
    let plan = &bench.plan;
    let pace = match arguments.rate {
        Some(rate) => Pace::Rate(f64::from(rate)),
        None => Pace::Window(plan.window),
    };
    let how = match pace {
        Pace::Window(window) => format!("window {window}"),
        Pace::Rate(rate) => format!("{rate:.0} a second"),
    };
    let course = plan.course(plan.pairs, pace);
    if arguments.sealed {
        let title = format!("{} pairs, {how}", plan.pairs);
        let run = bench.over_relay(&title, course).await?;
        return Ok(vec![
            JobReport::new("load", &title, run.rate, "messages/s").of_run(&run),
        ]);
    }
    let title = format!("{} families, {how}", plan.pairs);
    let run = families(bench, &title, course).await?;
    Ok(vec![
        JobReport::new("load", &format!("{title}: shown"), run.rate, "messages/s")
            .of_run(&run)
            .note("Real engines on one core: the generator is the bottleneck, as it should be."),
    ])
}

#[cfg(test)]
mod tests {
    use super::{Stamp, read, written};

    #[test]
    fn a_text_carries_its_stamp() {
        let stamp = Stamp {
            number: 3,
            at_ns: u64::MAX,
        };
        assert_eq!(read(&written(stamp)), Some(stamp));
        assert_eq!(read("Guten Morgen"), None);
    }
}
