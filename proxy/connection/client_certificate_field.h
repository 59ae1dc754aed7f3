#pragma once
// X-Forwarded-Client-Cert in Envoy's grammar: what a backend learns of the certificate that the
// client showed us.

#include <string>

#include "daemon/net/client_certificate.h"

namespace gatehouse::proxy {

/// One element: Hash, Subject (always quoted), URI and DNS once for each name. By is left out, as
/// Envoy does when its own certificate has no URI. The client chose the bytes of its names: values
/// that hold separators are quoted, names with bytes that no name has are left out.
std::string client_certificate_element(const net::ClientCertificate& certificate);

}  // namespace gatehouse::proxy
