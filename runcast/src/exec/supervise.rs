//! Starts the child and everything around it, stays with it, and ends in order: the child, its
//! pipes, its events.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc as sync_mpsc};
use std::thread;

use runcast_client::Client;
use runcast_client::publish::{Notice, NoticeFn, PublishOptions, Publisher};
use runcast_client::spool::MailboxPlace;
use runcast_event::{RunId, Timestamp};
use rustix::process::WaitIdStatus;
use tokio::sync::{Notify, mpsc, oneshot};

use super::RUN_VARIABLE;
use super::args::Args;
use super::child::{self, Child};
use super::command_lines::CommandLines;
use super::deliver::deliver;
use super::event::{Definition, EventMaker};
use super::intake::{Intake, Source};
use super::mailbox::{Address, Mailbox};
use super::obey::Obedience;
use super::outcome::{Ending, stopped_by};
use super::pipes::Pipes;
use super::pump::{Calm, Pump, pump_keys};
use super::record::{Recorded, record};
use super::redact::Secrets;
use super::signals::{Received, Signals};
use super::tell::{notice_teller, tell};
use super::terminal::{RawTerminal, fit};

/// What to run, and as which run.
pub(super) struct Plan {
    pub(super) args: Args,
    pub(super) client: Client,
    pub(super) run: RunId,
    pub(super) secrets: Arc<Secrets>,
    pub(super) definition: Definition,
    pub(super) maker: EventMaker,
}

/// Runs the plan to its end.
pub(super) async fn supervise(plan: Plan) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let pipes = ChildPipes::create(&plan.args);
    let environment = environment(&plan, &pipes);
    let started = child::start(&plan.args.command, &environment, plan.args.pty);

    let intake = Arc::new(Intake::default());
    let pid = started.as_ref().ok().map(|child| child.pid.as_raw_pid().unsigned_abs());
    let Recording { ending: recording, recorded, place_left, replaced } =
        start_recording(&plan, &intake, pid)?;
    let ChildPipes { events, commands, _keeper } = pipes;
    let files = (events.map(|(_, file)| file), commands.map(|(_, file)| file));
    let mut mailbox = open_mailbox(&plan, place_left, replaced)?;
    let ending = match started {
        Ok(child) => stay_with(child, files, &intake, &plan, &mut signals, &mut mailbox).await?,
        Err(error) => not_started(&plan.args.command, &error),
    };
    intake.close();
    // An error says that the thread is gone; so is what it would have published.
    drop(recording.send(ending.clone()));
    deliver(recorded, &plan.args, &mut signals).await;
    Ok(ExitCode::from(ending.exit_code()))
}

/// The pipes by which the child is talked with, as far as they can be made.
struct ChildPipes {
    events: Option<(PathBuf, File)>,
    commands: Option<(PathBuf, File)>,
    /// Removes them at the end.
    _keeper: Option<Pipes>,
}

impl ChildPipes {
    fn create(args: &Args) -> Self {
        let missing = |name: &str, error: &io::Error| tell(&format!("there is no {name}: {error}"));
        let keeper =
            Pipes::create().inspect_err(|error| missing("pipe for the command", error)).ok();
        let of = |name: &str, make: fn(&Pipes) -> io::Result<(PathBuf, File)>| {
            make(keeper.as_ref()?).inspect_err(|error| missing(name, error)).ok()
        };
        Self {
            events: of("RUNCAST_EVENTS", Pipes::events),
            commands: (!args.no_commands)
                .then(|| of("RUNCAST_COMMANDS", Pipes::commands))
                .flatten(),
            _keeper: keeper,
        }
    }
}

/// A pipe that there is not is taken out: it would be that of a run around this one.
fn environment(plan: &Plan, pipes: &ChildPipes) -> [(&'static str, Option<OsString>); 4] {
    let path = |pipe: &Option<(PathBuf, File)>| pipe.as_ref().map(|(path, _)| path.into());
    [
        (RUN_VARIABLE, Some(plan.run.as_str().into())),
        ("RUNCAST_URL", Some(plan.client.base_url().into())),
        ("RUNCAST_EVENTS", path(&pipes.events)),
        ("RUNCAST_COMMANDS", path(&pipes.commands)),
    ]
}

/// Opens the run's mailbox, with connections of its own: those of the publisher live in another
/// runtime.
fn open_mailbox(
    plan: &Plan,
    place_left: oneshot::Receiver<Option<MailboxPlace>>,
    replaced: Arc<Notify>,
) -> anyhow::Result<Mailbox> {
    let args = &plan.args;
    Ok(Mailbox::open(Address {
        client: Client::new(plan.client.base_url())?,
        run: plan.run.clone(),
        is_new: args.run.is_none(),
        place_left,
        replaced,
        lost_after: args.lost_after,
        listens: !args.no_commands,
        is_quiet: args.quiet,
    }))
}

fn not_started(command: &[OsString], error: &io::Error) -> Ending {
    let not_found = error.kind() == io::ErrorKind::NotFound;
    let program = command.first().map(|program| program.to_string_lossy()).unwrap_or_default();
    let reason = if not_found {
        format!("{program}: command not found")
    } else {
        format!("{program}: cannot be run: {error}")
    };
    tell(&reason);
    Ending::NotStarted { not_found, reason }
}

/// The thread that publishes.
struct Recording {
    /// Wants the ending, last.
    ending: sync_mpsc::Sender<Ending>,
    /// Gives the publisher back.
    recorded: oneshot::Receiver<Publisher>,
    /// What an ended process of the same run has left.
    place_left: oneshot::Receiver<Option<MailboxPlace>>,
    /// Another process has the run.
    replaced: Arc<Notify>,
}

/// Starts the thread that publishes; it wants the ending last, and gives the publisher back.
///
/// Everything that touches the disk happens there: a disk that hangs holds nobody else.
fn start_recording(plan: &Plan, intake: &Arc<Intake>, pid: Option<u32>) -> io::Result<Recording> {
    let (ending_sender, ending) = sync_mpsc::channel::<Ending>();
    let (publisher_sender, recorded) = oneshot::channel();
    let (place_sender, place_left) = oneshot::channel();
    let options = PublishOptions {
        run: plan.run.clone(),
        spool_root: plan.args.spool.root(),
        spool_bytes_max: plan.args.spool_bytes_max,
    };
    let first = plan.maker.started(&plan.definition, pid);
    let (client, maker) = (plan.client.clone(), plan.maker.clone());
    let (secrets, intake) = (Arc::clone(&plan.secrets), Arc::clone(intake));
    let replaced = Arc::new(Notify::new());
    let notice = notice_to(Arc::clone(&replaced), notice_teller(plan.args.quiet));
    thread::Builder::new().name("runcast-record".to_owned()).spawn(move || {
        let publisher = intake.while_writing(|| {
            let publisher = Publisher::start(client, &options, notice);
            // An error says that nobody listens.
            drop(place_sender.send(publisher.place_left()));
            publisher.publish(&[first.into()], Timestamp::now());
            publisher
        });
        let recorded = record(&intake, publisher, maker.clone(), &secrets);
        let Recorded { publisher, end_from_child } = recorded;
        let Ok(ending) = ending.recv() else { return };
        publisher.publish_last(maker.ended(&ending, end_from_child.as_deref()));
        // An error says that nobody waits any more.
        drop(publisher_sender.send(publisher));
    })?;
    Ok(Recording { ending: ending_sender, recorded, place_left, replaced })
}

/// Tells the mailbox that another process has the run, and a person everything.
fn notice_to(replaced: Arc<Notify>, teller: NoticeFn) -> NoticeFn {
    Box::new(move |notice| {
        if notice == Notice::Replaced {
            replaced.notify_one();
        }
        teller(notice);
    })
}

/// Stays with the child until it has ended and its pipes are drained.
async fn stay_with(
    mut child: Child,
    (events_file, commands_file): (Option<File>, Option<File>),
    intake: &Arc<Intake>,
    plan: &Plan,
    signals: &mut Signals,
    mailbox: &mut Mailbox,
) -> anyhow::Result<Ending> {
    let is_interactive = child.is_interactive();
    let raw = if child.takes_keys { RawTerminal::new().ok() } else { None };
    let status = start_waiting(&mut child)?;
    let (ended, child_lives) = io::pipe()?;
    let (mut pumps, calm) = start_pumps(&mut child, events_file, intake, Arc::new(ended))?;

    let lines = commands_file.map(CommandLines::new);
    let grace = plan.args.cancel_grace;
    let mut obedience = Obedience::new(&child, grace, intake, &plan.maker, lines, calm);
    let status = until_exit(&child, status, &mut obedience, signals, mailbox).await?;
    drop(child_lives);
    tokio::select! {
        // Nothing is ever sent: the channel ends when the last pump does.
        _ = pumps.recv() => {}
        // Asked again: what is left of the output is not waited for.
        () = signals.stop() => {}
    }
    // Asked to stop, the run leaves nothing behind in its group.
    obedience.see_off(signals.stop()).await;
    drop(raw);
    Ok(Ending::of(&status, obedience.stopped(), is_interactive))
}

fn start_waiting(child: &mut Child) -> io::Result<oneshot::Receiver<io::Result<WaitIdStatus>>> {
    let (sender, status) = oneshot::channel();
    let waiter = child.waiter();
    thread::Builder::new().name("runcast-wait".to_owned()).spawn(move || {
        drop(sender.send(waiter.wait()));
    })?;
    Ok(status)
}

/// Starts a thread for each of the child's pipes. The channel closes when all have ended.
/// Whether they have handed on what was written is told by the others.
fn start_pumps(
    child: &mut Child,
    events_file: Option<File>,
    intake: &Arc<Intake>,
    ended: Arc<PipeReader>,
) -> io::Result<(mpsc::Receiver<()>, Vec<Calm>)> {
    let (running, all_ended) = mpsc::channel(1);
    let mut calm = Vec::new();
    let mut start = |from: OwnedFd, to: Option<OwnedFd>, source: Source| {
        let pump = Pump {
            from: Arc::new(from.into()),
            is_busy: Arc::default(),
            to: to.map(File::from),
            source,
            intake: Arc::clone(intake),
            ended: Arc::clone(&ended),
        };
        calm.push(Calm::of(&pump));
        let running = running.clone();
        thread::Builder::new().name(format!("runcast-{source:?}").to_lowercase()).spawn(move || {
            pump.run();
            drop(running);
        })
    };
    if let Some(stdout) = child.stdout.take() {
        let to = io::stdout().as_fd().try_clone_to_owned()?;
        start(stdout, Some(to), Source::Stdout)?;
    }
    if let Some(stderr) = child.stderr.take() {
        let to = io::stderr().as_fd().try_clone_to_owned()?;
        start(stderr, Some(to), Source::Stderr)?;
    }
    if let Some(file) = events_file {
        start(file.into(), None, Source::Events)?;
    }
    if child.takes_keys
        && let Some(terminal) = &child.terminal
    {
        let terminal = terminal.try_clone()?;
        thread::Builder::new().name("runcast-keys".to_owned()).spawn(move || {
            pump_keys(io::stdin().as_fd(), terminal, &ended);
        })?;
    }
    Ok((all_ended, calm))
}

/// Waits for the child's end; meanwhile it gets the signals that we get, and does what the run is
/// asked.
async fn until_exit(
    child: &Child,
    mut status: oneshot::Receiver<io::Result<WaitIdStatus>>,
    obedience: &mut Obedience<'_>,
    signals: &mut Signals,
    mailbox: &mut Mailbox,
) -> anyhow::Result<WaitIdStatus> {
    loop {
        tokio::select! {
            status = &mut status => return Ok(status??),
            received = signals.next() => match received {
                Received::Stop(signal) => {
                    obedience.ask_to_stop(stopped_by(signal.as_raw()), signal);
                }
                Received::PassOn(signal) => child::signal(child.pid, signal),
                Received::Resized => {
                    if let Some(terminal) = &child.terminal {
                        fit(terminal.as_fd());
                    }
                }
            },
            heard = mailbox.next(), if obedience.is_ready() => obedience.hear(heard),
            () = obedience.due() => obedience.do_due(),
        }
    }
}
