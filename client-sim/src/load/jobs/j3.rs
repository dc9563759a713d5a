//! J3: devices that are attached and have nothing to say.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::nice;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Bench;
use crate::load::child::RelaySetup;
use crate::load::course::{Outcome, Pace};
use crate::load::pairs::{run_with, unexpected};
use crate::load::people::{Door, Mailbox};
use crate::load::process::{KernelMemory, Memory, Process, kernel_memory};
use crate::load::report::{JobReport, Plot, Target};
use crate::load::tally::Tally;
use crate::load::trouble::Trouble;
use crate::load::wire::{Connection, Dial, FIRST_REQUEST, Seen, Stamp, Template};

/// Handshakes under way at a time.
const AT_ONCE: usize = 64;
/// Loopback addresses that devices come from: each has 28,000 ports.
const SOURCES: u32 = 16;
/// Files beside the devices' sockets.
const OTHER_FILES: u64 = 500;
/// What mosquitto takes, the leanest of the others.
const TARGET_KIB: f64 = 14.7;
/// How long all may take to come, to talk, or to come back.
const PATIENCE: Duration = Duration::from_secs(600);
/// Others, who talk while everybody comes back: pairs, and messages a second of all of them.
const WATCHED: (u32, f64) = (10, 500.0);

/// One idle device.
struct Idle {
    mailbox: Mailbox,
    connection: Connection,
}

fn source(dial: &Dial, index: u32) -> Dial {
    let last = u8::try_from(2 + index % SOURCES).unwrap_or(2);
    let mut dial = dial.clone();
    dial.from = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    dial
}

/// Opens, attaches and returns every device, some at a time.
async fn come(dial: &Dial, mailboxes: Vec<(Mailbox, bool)>) -> Result<Vec<Idle>, Trouble> {
    let room = Rc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    let all = mailboxes.len();
    for (index, (mailbox, new)) in (0..).zip(mailboxes) {
        let (room, dial) = (Rc::clone(&room), source(dial, index));
        tasks.spawn_local(async move {
            let _place = room.acquire().await;
            let mut door = Door::enter(&dial).await?;
            if new {
                mailbox.open(&mut door).await?;
            }
            mailbox.attach(&mut door, 32).await?;
            let mut connection = door.connection;
            connection.rest();
            Ok::<_, Trouble>((
                index,
                Idle {
                    mailbox,
                    connection,
                },
            ))
        });
    }
    let mut devices = Vec::with_capacity(all);
    let work = async {
        while let Some(ended) = tasks.join_next().await {
            devices.push(ended.map_err(|error| Trouble::new(error.to_string()))??);
        }
        Ok::<_, Trouble>(())
    };
    timeout(PATIENCE, work)
        .await
        .map_err(|_| Trouble::new("the devices did not all come in time"))??;
    devices.sort_by_key(|(index, _)| *index);
    Ok(devices.into_iter().map(|(_, device)| device).collect())
}

/// Each sends one envelope to the next; returns when each has got its own and has been answered.
async fn talk(devices: Vec<Idle>) -> Result<Vec<Idle>, Trouble> {
    let mut rng = crate::random::os();
    let next: Vec<_> = devices
        .iter()
        .cycle()
        .skip(1)
        .take(devices.len())
        .map(|device| (device.mailbox.id, device.mailbox.grant()))
        .collect();
    let mut tasks = JoinSet::new();
    for ((index, mut device), (id, grant)) in (0_u64..).zip(devices).zip(next) {
        let mut template = Template::new(id, &grant, &mut rng);
        tasks.spawn_local(async move {
            let connection = &mut device.connection;
            let stamp = Stamp {
                number: index,
                at_ns: 0,
            };
            template.put(&mut connection.output, FIRST_REQUEST, stamp);
            let (mut got, mut answered) = (false, false);
            while !(got && answered) {
                connection.turn().await?;
                while let Some(seen) = connection.next()? {
                    match seen {
                        Seen::Deliver { number, .. } => {
                            connection.put_acknowledgement(number);
                            got = true;
                        }
                        Seen::Answer { status, .. } => answered = Seen::is_ok(status),
                        other => unexpected(other)?,
                    }
                }
            }
            connection.flush().await?;
            connection.rest();
            Ok::<_, Trouble>((index, device))
        });
    }
    let mut devices = Vec::new();
    let work = async {
        while let Some(ended) = tasks.join_next().await {
            devices.push(ended.map_err(|error| Trouble::new(error.to_string()))??);
        }
        Ok::<_, Trouble>(())
    };
    timeout(PATIENCE, work)
        .await
        .map_err(|_| Trouble::new("not every idle device got its one message"))??;
    devices.sort_by_key(|(index, _)| *index);
    Ok(devices.into_iter().map(|(_, device)| device).collect())
}

/// Devices that only answer pings, until they are asked to go.
struct Resting {
    tasks: JoinSet<Result<Mailbox, Trouble>>,
    cut: CancellationToken,
}

fn rest(devices: Vec<Idle>) -> Resting {
    let cut = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for mut device in devices {
        let cut = cut.clone();
        tasks.spawn_local(async move {
            loop {
                tokio::select! {
                    turned = device.connection.turn() => turned?,
                    () = cut.cancelled() => return Ok(device.mailbox),
                }
                while let Some(seen) = device.connection.next()? {
                    unexpected(seen)?;
                }
                device.connection.flush().await?;
                device.connection.rest();
            }
        });
    }
    Resting { tasks, cut }
}

impl Resting {
    /// Cuts every connection at once; returns whose they were.
    async fn cut(mut self) -> Result<Vec<Mailbox>, Trouble> {
        self.cut.cancel();
        let mut mailboxes = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            mailboxes.push(ended.map_err(|error| Trouble::new(error.to_string()))??);
        }
        Ok(mailboxes)
    }
}

/// The idle devices, in a thread that lets everybody else on its core go first: what the
/// generator's own half of 10,000 handshakes takes must not look like what the relay lets others
/// wait.
struct Crowd {
    thread: JoinHandle<Result<(), Trouble>>,
    go: mpsc::Sender<()>,
    told: mpsc::Receiver<Duration>,
}

impl Crowd {
    fn new(dial: Dial, count: u32) -> Self {
        let (go, gone) = mpsc::channel(1);
        let (tell, told) = mpsc::channel(1);
        let thread = thread::spawn(move || {
            // Of this thread alone. Where the system refuses, others only look slower.
            let _ = nice(19);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            LocalSet::new().block_on(&runtime, live(dial, count, gone, tell))
        });
        Self { thread, go, told }
    }

    /// Lets it do what it does next; returns how long that took.
    async fn next(&mut self) -> Result<Duration, Trouble> {
        // A crowd that is in trouble tells nothing, and says so when it ends.
        let _ = self.go.send(()).await;
        let took = self.told.recv().await;
        took.ok_or_else(|| Trouble::new("the idle devices ended early"))
    }

    /// Ends it, or says why it ended.
    fn end(self) -> Result<(), Trouble> {
        drop(self.go);
        let ended = self.thread.join();
        ended.map_err(|_| Trouble::new("the idle devices' thread died"))?
    }
}

/// What the crowd does, step by step: come, talk, come back after a cut.
async fn live(
    dial: Dial,
    count: u32,
    mut go: mpsc::Receiver<()>,
    tell: mpsc::Sender<Duration>,
) -> Result<(), Trouble> {
    let mut rng = crate::random::os();
    let new = (0..count)
        .map(|_| (Mailbox::random(&mut rng), true))
        .collect();
    let told = async |began: Instant| {
        let _ = tell.send(began.elapsed()).await;
    };
    let Some(()) = go.recv().await else {
        return Ok(());
    };
    let began = Instant::now();
    let idle = come(&dial, new).await?;
    told(began).await;
    let Some(()) = go.recv().await else {
        return Ok(());
    };
    let began = Instant::now();
    let resting = rest(talk(idle).await?);
    told(began).await;
    let Some(()) = go.recv().await else {
        return Ok(());
    };
    let began = Instant::now();
    let known = resting.cut().await?;
    let known = known.into_iter().map(|mailbox| (mailbox, false)).collect();
    let idle = come(&dial, known).await?;
    told(began).await;
    // Until nobody looks at them any more.
    while go.recv().await.is_some() {}
    drop(idle);
    Ok(())
}

/// Others, who talk at a fixed rate.
async fn watched(
    bench: &Bench,
    dial: &Dial,
    relay: Process,
    seconds: Duration,
    tally: &Rc<Tally>,
) -> Result<Outcome, Trouble> {
    let mut course = bench.plan.course(WATCHED.0, Pace::Rate(WATCHED.1));
    course.warm_up = Duration::ZERO;
    course.measured = seconds;
    run_with(dial, relay, course, Duration::ZERO, tally, &bench.progress).await
}

/// Kernel memory of both sides of `devices` connections, in KiB each.
fn kernel_each(before: KernelMemory, after: KernelMemory, devices: f64) -> f64 {
    (after.slab_kib + after.sockets_kib - before.slab_kib - before.sockets_kib) / devices
}

/// What is seen of the relay while the crowd lives.
struct Measured {
    first_coming: Duration,
    untouched: Memory,
    full: Memory,
    kernel: KernelMemory,
    at_rest: f64,
    before: Outcome,
    during: Outcome,
    took: Duration,
    again: Memory,
}

async fn measure(
    bench: &Bench,
    dial: &Dial,
    process: Process,
    crowd: &mut Crowd,
) -> Result<Measured, Trouble> {
    let first_coming = crowd.next().await?;
    let untouched = process.memory();
    bench.progress.begin("J3, a message each");
    crowd.next().await?;
    // Holding is over, the log is folded in.
    sleep(Duration::from_secs(3)).await;
    let (full, kernel) = (process.memory(), kernel_memory());
    bench.progress.begin("J3, at rest");
    let cpu = process.cpu_seconds();
    sleep(bench.plan.rest).await;
    let at_rest = (process.cpu_seconds() - cpu) / bench.plan.rest.as_secs_f64();

    bench.progress.begin("J3, others before the cut");
    let tally = Rc::new(Tally::new());
    let before = watched(bench, dial, process, bench.plan.measured, &tally).await?;
    bench.progress.begin("J3, everybody comes back");
    let tally = Rc::new(Tally::new());
    let back = async {
        // The others are at it first.
        while tally.delivered.get() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        let took = crowd.next().await;
        tally.stopped.set(true);
        took
    };
    let (during, took) = tokio::join!(watched(bench, dial, process, PATIENCE, &tally), back);
    Ok(Measured {
        first_coming,
        untouched,
        full,
        kernel,
        at_rest,
        before,
        during: during?,
        took: took?,
        again: process.memory(),
    })
}

/// Runs J3.
pub(in crate::load) async fn run(
    bench: &Bench,
    open_files: u64,
) -> Result<Vec<JobReport>, Trouble> {
    let wanted = u64::from(bench.plan.devices);
    let allowed = wanted.min(open_files.saturating_sub(OTHER_FILES)).max(1);
    let count = u32::try_from(allowed).unwrap_or(u32::MAX);
    let devices = f64::from(count);
    bench.progress.begin("J3, coming");
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let dial = relay.child.dial()?;
    let process = relay.child.process();
    let mut rng = crate::random::os();
    // One device comes and goes, so that what is made once is made.
    drop(come(&dial, vec![(Mailbox::random(&mut rng), true)]).await?);
    let mut crowd = Crowd::new(dial.clone(), count);
    sleep(Duration::from_secs(1)).await;
    let (empty, kernel_before) = (process.memory(), kernel_memory());
    let measured = measure(bench, &dial, process, &mut crowd).await;
    // Its own trouble is the cause of ours.
    crowd.end()?;
    let Measured {
        first_coming,
        untouched,
        full,
        kernel,
        at_rest,
        before,
        during,
        took,
        again,
    } = measured?;
    relay.stop().await?;

    let each = (full.pss_kib - empty.pss_kib) / devices;
    let mut memory = JobReport::new(
        "j3-memory",
        &format!("J3, {count} idle devices: process memory of each"),
        each,
        "KiB",
    )
    .aims_at(Target::FigureBelow(TARGET_KIB))
    .detail("empty_process_pss_kib", empty.pss_kib)
    .detail("pss_kib_each", each)
    .detail("rss_kib_each", (full.rss_kib - empty.rss_kib) / devices)
    .detail("pss_kib_each_before_the_message", (untouched.pss_kib - empty.pss_kib) / devices)
    .detail("pss_kib_each_after_coming_back", (again.pss_kib - empty.pss_kib) / devices)
    .detail("kernel_kib_each_both_ends", kernel_each(kernel_before, kernel, devices))
    .note("Kernel memory is of both ends of each connection, and of whatever else happened on the machine.");
    if allowed < wanted {
        memory = memory.note(format!(
            "Only {count} of {wanted} devices: {open_files} files may be open here."
        ));
    }
    let rest = JobReport::new("j3-cpu", "J3: CPU at rest", at_rest * 100.0, "% of a core")
        .aims_at(Target::FigureBelow(1.0))
        .detail("watched_s", bench.plan.rest.as_secs_f64());
    let mut return_row = JobReport::new(
        "j3-return",
        &format!("J3: {count} devices back after a cut"),
        took.as_secs_f64(),
        "s",
    )
    .aims_at(Target::FigureAtMost(30.0))
    .detail("first_coming_s", first_coming.as_secs_f64())
    .detail("a_second", devices / took.as_secs_f64().max(1e-9));
    return_row.relay_cores = Some(during.server_cores);
    return_row.generator_cores = Some(during.generator_cores);
    return_row.relay_cpu_s_per_1k =
        Some(during.server_cores * took.as_secs_f64() / devices * 1_000.0);
    let lines = [
        ("before the cut", &before),
        ("while all come back", &during),
    ];
    let others = JobReport::new(
        "j3-others",
        "J3: p99 of others meanwhile",
        during.delivery.p99_ms,
        "ms",
    )
    .beside(before.delivery.p99_ms, "the same before the cut")
    .aims_at(Target::RatioAtMost(2.0))
    .of_run(&during)
    .note("The generator makes its half of every handshake on the same core as the others, in a thread that lets them go first.")
    .plot(Plot {
        title: "Others' p99 each second".into(),
        x: "seconds".into(),
        y: "milliseconds".into(),
        log: true,
        lines: lines
            .into_iter()
            .map(|(name, run)| {
                let points = run.seconds.iter().map(|second| (second.at, second.p99_ms));
                (name.to_owned(), points.collect())
            })
            .collect(),
    });
    Ok(vec![memory, rest, return_row, others])
}
