import { composeSuite } from './compose-suite.ts';
import { compose1 } from './support.ts';

composeSuite(compose1, 1);
