//! Names of other machines.

use super::{Notify, Stack};
use crate::net::port::{Receive, Tap, Transmit};
use abi::Errno;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use smoltcp::socket::dns;
use smoltcp::wire::DnsQueryType;

/// Questions to the name server at the same time: a name is two.
const QUESTIONS_MAX: usize = 32;

/// A name being asked for: its IPv4 addresses, then its IPv6 addresses.
pub struct Query {
    /// What is known.
    found: Vec<IpAddr>,
    /// Questions still open, the one whose answers come first last.
    open: Vec<dns::QueryHandle>,
}

impl<Rx: Receive, Tx: Transmit, T: Tap, N: Notify> Stack<Rx, Tx, T, N> {
    /// Starts asking the name server for a name's addresses.
    pub fn resolve_start(&mut self, name: &str) -> Result<Query, Errno> {
        let known = if name.eq_ignore_ascii_case("localhost") {
            Some(Ipv4Addr::LOCALHOST.into())
        } else {
            name.parse().ok()
        };
        let mut query = Query {
            found: known.into_iter().collect(),
            open: Vec::new(),
        };
        if known.is_some() {
            return Ok(query);
        }
        if self.lease.dns.is_none() {
            return Err(Errno::ENETUNREACH);
        }
        if self.questions + 2 > QUESTIONS_MAX {
            return Err(Errno::EAGAIN);
        }
        let socket = self.core.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        for kind in [DnsQueryType::Aaaa, DnsQueryType::A] {
            let question = socket.start_query(self.core.iface.context(), name, kind);
            query.open.push(question.map_err(|error| match error {
                dns::StartQueryError::NoFreeSlot => Errno::EAGAIN,
                dns::StartQueryError::InvalidName => Errno::EINVAL,
                dns::StartQueryError::NameTooLong => Errno::ENAMETOOLONG,
            })?);
            self.questions += 1;
        }
        Ok(query)
    }

    /// The addresses, or EAGAIN while the name server has not answered. ENOENT: the name has none.
    pub fn resolve_finish(&mut self, query: &mut Query) -> Result<Vec<IpAddr>, Errno> {
        let socket = self.core.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        while let Some(&question) = query.open.last() {
            match socket.get_query_result(question) {
                Err(dns::GetQueryResultError::Pending) => return Err(Errno::EAGAIN),
                Err(dns::GetQueryResultError::Failed) => {}
                Ok(addresses) => query.found.extend(addresses.into_iter().map(IpAddr::from)),
            }
            query.open.pop();
            self.questions -= 1;
        }
        if query.found.is_empty() {
            return Err(Errno::ENOENT);
        }
        Ok(core::mem::take(&mut query.found))
    }

    /// Forgets a query nobody waits for any more.
    pub fn resolve_cancel(&mut self, query: Query) {
        let socket = self.core.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        for question in query.open {
            socket.cancel_query(question);
            self.questions -= 1;
        }
    }
}
