//! probe, tracectl, traceevent.

use super::{Call, CallResult};
use crate::mm::user;
use crate::{probe as probes, trace};
use abi::Errno;
use abi::info::{TRACE_STATS, TraceStats};

pub(super) fn probe(call: &mut Call<'_>) -> CallResult {
    let len = usize::try_from(call.argument(2)).map_err(|_| Errno::EINVAL)?;
    let room = usize::try_from(call.argument(4))
        .unwrap_or(usize::MAX)
        .min(probes::RESPONSE_MAX);
    if len > probes::REQUEST_MAX {
        return Err(Errno::EINVAL);
    }
    let mut request = user::buffer(len)?;
    user::copy_in(call.argument(1), &mut request)?;
    if room > 0 {
        // Found out before anything runs that cannot be undone.
        user::check_writable(call.argument(3), room)?;
    }
    let response = probes::call(call.int(0), &request, room)?;
    user::copy_out(call.argument(3), &response)?;
    Ok(response.len())
}

pub(super) fn tracectl(call: &mut Call<'_>) -> CallResult {
    let op = call.int(0);
    let mut stats = TraceStats::default();
    let value = trace::control(op, call.argument(1), &mut stats)?;
    if op == TRACE_STATS {
        user::write(call.argument(2), &stats)?;
    }
    Ok(value)
}

pub(super) fn traceevent(call: &mut Call<'_>) -> CallResult {
    let len = usize::try_from(call.argument(1)).map_err(|_| Errno::EINVAL)?;
    if len > trace_record::payload::TEXT_MAX {
        return Err(Errno::EINVAL);
    }
    let mut text = user::buffer(len)?;
    user::copy_in(call.argument(0), &mut text)?;
    trace::user_event(&text)
}
