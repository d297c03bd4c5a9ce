//! Follows the runs of a server: finds runs and boots by listing, and follows their files.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol::host::{Error, Files, Link as Connection, Options, Session};
use protocol::message::{Counters, FollowEvent, Kind};
use trace_record::run::export;

use super::{Ended, Sink};
use crate::feed::{Feed, FileEvent, Link, OperationCount, Place, RunFile, ServerCounts};
use crate::{Runs, Secret};

/// How often to look for new runs and boots.
const LOOK: Duration = Duration::from_millis(700);
/// How often to ask for the counters.
const COUNT: Duration = Duration::from_secs(1);
/// Runs followed at a time; with more, the oldest are left out and that is said.
const RUNS: usize = 8;
/// Boots of a run whose files are kept open; older ones are read to their end and let go.
const OPEN_BOOTS: usize = 4;
/// A server that does not answer for so long is as good as gone.
const ANSWER: Duration = Duration::from_secs(4);

/// Follows until nobody listens or the server will not have us.
///
/// # Errors
/// [`Ended`] when nobody listens.
pub fn follow(sink: &Sink, address: SocketAddr, secret: Secret, runs: &Runs) -> Result<(), Ended> {
    let options = match secret {
        Secret::Token(token) => Options::new(address, &token),
        Secret::Key(key) => Options::with_key(address, key),
    };
    let mut options = options.named("monitor");
    options.connect_within = Duration::from_secs(2);
    options.answer_within = ANSWER;
    // Questions fail at once while the server is away; following goes on by itself.
    options.give_up_after = Some(Duration::from_millis(200));
    let session = match Session::new(options) {
        Ok(session) => session,
        Err(error) => return sink.send(Feed::Link(Link::Failed(error.to_string()))),
    };
    let mut follower = Follower {
        sink,
        files: Files::over(session),
        runs,
        generation: 0,
        followed: BTreeMap::new(),
        known: BTreeMap::new(),
        reached: BTreeMap::new(),
        link: None,
        left_out: 0,
    };
    let result = follower.work();
    follower.files.goodbye();
    result
}

struct Follower<'a> {
    sink: &'a Sink,
    files: Files,
    runs: &'a Runs,
    generation: u32,
    /// What a follow's id stands for.
    followed: BTreeMap<u32, Place>,
    /// Runs and their boots.
    known: BTreeMap<String, BTreeSet<u32>>,
    /// How far each file was read, and whether it was at its end.
    reached: BTreeMap<Place, (u64, bool)>,
    link: Option<Link>,
    left_out: usize,
}

impl Follower<'_> {
    fn work(&mut self) -> Result<(), Ended> {
        let mut next_look = Instant::now();
        let mut next_count = Instant::now();
        loop {
            self.tell_link()?;
            match self.files.link() {
                Connection::Unwelcome(failure) => {
                    let why = format!("the server refuses this client: {failure}");
                    return self.sink.send(Feed::Link(Link::Failed(why)));
                }
                Connection::Connecting { .. } => {}
                Connection::Up => {
                    // Questions that fail because the connection went are asked again when it is back.
                    let now = Instant::now();
                    let generation = self.files.session().generation();
                    if generation != self.generation {
                        self.generation = generation;
                        let _ = self.follow_again();
                    }
                    if now >= next_look {
                        next_look = now + LOOK;
                        self.look()?;
                    }
                    if now >= next_count {
                        next_count = now + COUNT;
                        self.count()?;
                    }
                }
            }
            self.take_pushes()?;
        }
    }

    /// Says how the connection is, whenever that changes.
    fn tell_link(&mut self) -> Result<(), Ended> {
        let link = match self.files.link() {
            Connection::Up => Link::Up,
            // Said by the caller, who ends then.
            Connection::Unwelcome(_) => {
                return if self.sink.stopped() {
                    Err(Ended)
                } else {
                    Ok(())
                };
            }
            Connection::Connecting {
                attempts,
                last,
                next_in,
            } => Link::Connecting {
                attempts,
                last: if attempts == 0 { String::new() } else { last },
                next_in_ms: next_in.as_millis() as u64,
            },
        };
        let same = match (&self.link, &link) {
            // The time until the next attempt runs by itself.
            (Some(Link::Connecting { attempts: a, .. }), Link::Connecting { attempts: b, .. }) => {
                a == b
            }
            (before, now) => before.as_ref() == Some(now),
        };
        if same {
            return if self.sink.stopped() {
                Err(Ended)
            } else {
                Ok(())
            };
        }
        self.link = Some(link.clone());
        self.sink.send(Feed::Link(link))
    }

    fn take_pushes(&mut self) -> Result<(), Ended> {
        let mut wait = Duration::from_millis(50);
        loop {
            let push = match self.files.session().next_push(wait) {
                Ok(Some(push)) => push,
                // Unwelcome is seen by the link; what is ours to do comes again.
                Ok(None) | Err(_) => return Ok(()),
            };
            wait = Duration::ZERO;
            let Some(place) = self.followed.get(&push.id).cloned() else {
                continue;
            };
            let reached = self.reached.entry(place.clone()).or_default();
            let event = match push.event {
                FollowEvent::Data => {
                    reached.0 = push.offset + push.data.len() as u64;
                    FileEvent::Data {
                        offset: push.offset,
                        bytes: push.data,
                    }
                }
                FollowEvent::Truncated | FollowEvent::Gone => {
                    *reached = (0, true);
                    FileEvent::Anew
                }
                FollowEvent::End => {
                    reached.1 = true;
                    FileEvent::End
                }
                FollowEvent::Refused => {
                    // A lost session refuses its follows; they are followed again in the next one.
                    if self.files.session().generation() != self.generation {
                        continue;
                    }
                    self.followed.remove(&push.id);
                    let why = push.failure.map(|failure| failure.to_string());
                    FileEvent::Refused(why.unwrap_or_default())
                }
            };
            self.sink.send(Feed::File(place, event))?;
        }
    }

    /// After a lost session: everything again, from where it was.
    fn follow_again(&mut self) -> Result<(), Error> {
        let places: Vec<Place> = self.followed.values().cloned().collect();
        self.followed.clear();
        for place in places {
            self.follow(&place)?;
        }
        Ok(())
    }

    fn follow(&mut self, place: &Place) -> Result<(), Error> {
        let (from, _) = self.reached.get(place).copied().unwrap_or_default();
        let id = self.files.follow(&path(place), from)?;
        self.followed.insert(id, place.clone());
        Ok(())
    }

    /// Looks for new runs and boots. A server that is away is no news here: the link says it.
    fn look(&mut self) -> Result<(), Ended> {
        let Ok(wanted) = self.wanted() else {
            return Ok(());
        };
        for id in wanted {
            if !self.known.contains_key(&id) {
                self.sink.send(Feed::Run(id.clone()))?;
                self.known.insert(id.clone(), BTreeSet::new());
                for file in RunFile::OF_RUN {
                    let _ = self.follow(&Place {
                        run: id.clone(),
                        machine: None,
                        file,
                    });
                }
            }
            self.look_for_boots(&id)?;
        }
        Ok(())
    }

    /// The runs to follow, oldest first.
    fn wanted(&mut self) -> Result<Vec<String>, Error> {
        let Runs::Named(names) = self.runs else {
            let mut ids: Vec<String> = self
                .files
                .list(export::RUNS)?
                .into_iter()
                .filter(|item| item.kind == Kind::Directory)
                .map(|item| item.name)
                .collect();
            let keep = if *self.runs == Runs::All { RUNS } else { 1 };
            let left_out = ids.len().saturating_sub(keep);
            ids.drain(..left_out);
            if *self.runs == Runs::All && left_out != self.left_out {
                self.left_out = left_out;
                // Nobody listening is noticed at the next send.
                let _ = self.sink.send(Feed::NotFollowed(left_out));
            }
            return Ok(ids);
        };
        Ok(names.clone())
    }

    fn look_for_boots(&mut self, id: &str) -> Result<(), Ended> {
        let Ok(items) = self.files.list(&format!("{}/{id}", export::RUNS)) else {
            return Ok(());
        };
        let found = items.iter().filter_map(|item| machine_number(&item.name));
        let mut found: Vec<u32> = found.collect();
        found.sort_unstable();
        let known = self.known.entry(id.to_owned()).or_default();
        let new: Vec<u32> = found
            .iter()
            .copied()
            .filter(|machine| known.insert(*machine))
            .collect();
        for machine in new {
            self.sink.send(Feed::Boot(id.to_owned(), machine))?;
            for file in RunFile::OF_BOOT {
                let _ = self.follow(&Place {
                    run: id.to_owned(),
                    machine: Some(machine),
                    file,
                });
            }
        }
        let open_from = found.len().saturating_sub(OPEN_BOOTS);
        self.let_go(id, &found[..open_from]);
        Ok(())
    }

    /// Stops to follow files of boots that are long over and were read to their end.
    fn let_go(&mut self, id: &str, old: &[u32]) {
        let over = |place: &Place| {
            place.run == id
                && place.machine.is_some_and(|machine| old.contains(&machine))
                && self.reached.get(place).is_some_and(|(_, at_end)| *at_end)
        };
        let ids: Vec<u32> = self
            .followed
            .iter()
            .filter(|(_, place)| over(place))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.followed.remove(&id);
            self.files.unfollow(id);
        }
    }

    fn count(&mut self) -> Result<(), Ended> {
        let Ok(reply) = self.files.session().call(&Counters {}) else {
            return Ok(());
        };
        let Ok(list) = reply.get::<Counters>() else {
            return Ok(());
        };
        let counts = list.counts.iter().map(|count| OperationCount {
            session: count.session,
            name: count.name.to_vec(),
            ago_ms: count.ago_ms,
            operation: count.operation,
            calls: count.calls,
            errors: count.errors,
            bytes: count.bytes,
        });
        self.sink.send(Feed::Server(ServerCounts {
            uptime_ms: list.uptime_ns / 1_000_000,
            connections: list.connections,
            refused: list.refused,
            counts: counts.collect(),
        }))
    }
}

fn path(place: &Place) -> String {
    let (runs, id, name) = (export::RUNS, &place.run, place.file.name());
    match place.machine {
        None => format!("{runs}/{id}/{name}"),
        Some(machine) => format!(
            "{runs}/{id}/{}/{name}",
            trace_record::run::machine_dir(machine)
        ),
    }
}

/// The number of a boot's folder, `mNN`.
pub fn machine_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix('m')?.parse().ok()?;
    (trace_record::run::machine_dir(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_boots_are_told_from_others() {
        assert_eq!(machine_number("m00"), Some(0));
        assert_eq!(machine_number("m123"), Some(123));
        for other in ["m1", "m", "m001", "x00", "m-1", "m+1", "run.json"] {
            assert_eq!(machine_number(other), None, "{other}");
        }
    }

    #[test]
    fn paths_are_those_of_the_run_folder() {
        let place = |machine, file| Place {
            run: "20261123-120000".to_owned(),
            machine,
            file,
        };
        assert_eq!(
            path(&place(None, RunFile::Info)),
            "runs/20261123-120000/run.json"
        );
        assert_eq!(
            path(&place(Some(3), RunFile::Trace)),
            "runs/20261123-120000/m03/trace.hvt"
        );
    }
}
