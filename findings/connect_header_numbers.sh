#!/usr/bin/env bash
# A Kafka Connect worker reads the headers of messages with SimpleHeaderConverter, unless its configuration says otherwise. It
# takes a text that looks like a number for one, with as few bits as it thinks are enough, and writes back another text.
#
# version: Kafka 4.4.0 (org.apache.kafka:connect-api). Only the converter is needed: a worker calls it for each header.
# needs: Java 17 and Maven
# guess: headers that are text stay text; at most, "true" and numbers get a type and come back as they were.
# seen: "123456789.12" becomes a FLOAT32 and comes back as "1.23456792E8", "20000.005" as "20000.006", "1.10" as "1.1",
#       "007" as "7", "12e3" as "12000", "null" as no header value. Whole numbers beyond 64 bits, UUIDs and "4e2f" are kept.
# Why it matters: amounts in headers change on the way through a connector, ids that look like numbers are other ids, and others
# are not. header.converter = org.apache.kafka.connect.storage.StringConverter keeps every text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId>
  <artifactId>finding</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-api</artifactId><version>4.4.0</version></dependency>
  </dependencies>
</project>
XML
mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib > build.log || { cat build.log; exit 1; }
cat > Headers.java <<'JAVA'
import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.Map;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;

public class Headers {
    public static void main(String[] arguments) {
        var converter = new SimpleHeaderConverter();
        converter.configure(Map.<String, Object>of());
        for (var text : new String[] {"123456789.12", "20000.005", "1.10", "007", "12e3", "null",
                "123456789012345678901234567890", "4e2f", "00000000-0000-0000-0000-000000000001"}) {
            var read = converter.toConnectHeader("topic", "header", text.getBytes(UTF_8));
            if (read == null) {
                System.out.println(text + " -> nothing");
                continue;
            }
            var written = converter.fromConnectHeader("topic", "header", read.schema(), read.value());
            System.out.println(text + " -> " + read.schema().type() + " -> " + new String(written, UTF_8));
        }
    }
}
JAVA
javac -cp 'lib/*' Headers.java
java -cp 'lib/*:.' Headers 2> errors | tee seen
cat > expected <<'TEXT'
123456789.12 -> FLOAT32 -> 1.23456792E8
20000.005 -> FLOAT32 -> 20000.006
1.10 -> FLOAT32 -> 1.1
007 -> INT8 -> 7
12e3 -> INT16 -> 12000
null -> nothing
123456789012345678901234567890 -> BYTES -> 123456789012345678901234567890
4e2f -> STRING -> 4e2f
00000000-0000-0000-0000-000000000001 -> STRING -> 00000000-0000-0000-0000-000000000001
TEXT
cmp seen expected || { cat errors; echo "this finding is out of date"; exit 1; }
