#pragma once
// Whether what a Secret has is to be served, given what is served: on one screen. Pure.
//
//   what the Secret has                              what is served
//   a pair that is usable                            that
//   another type, no chain, a key that is another's  what was before
//   a certificate that has expired                   what was before, unless that has expired, too
//   one that lacks a host of ours                    what was before, if that has the host
//   nothing: there is none, or not any more          what was before

#include <string>

#include "daemon/base/clock.h"
#include "daemon/net/certificate.h"
#include "store/kube_objects.h"
#include "store/options.h"

namespace gatehouse::store {

/// A usable pair in a Secret, named `certificate`. Errors say what is wrong.
Result<net::CredentialPtr> usable_credential(const Secret& secret, const std::string& certificate);
/// Why `fresh` does not take the place of `served`, which may be null; empty: it does.
std::string why_not(const SourceTarget& target, const net::Credential& fresh,
                    const net::Credential* served, WallTime now);

}  // namespace gatehouse::store
